//! Takes long bulk operations of a guest to pieces, so that they end at an epoch like other code:
//! `memory.fill`, `memory.copy` and `memory.init` are single instructions, which an engine carries
//! out to their end, be it over gigabytes.
//!
//! Each module of a component gets a function for each such instruction, and calls it instead; that
//! function goes over what is longer than a piece in a loop. All else stays as it is, byte for byte.
//! Nothing here decides whether a component is valid: the engine does, before and after.

use std::borrow::Cow;
use std::collections::BTreeMap;

use wasm_encoder::{
    BlockType, Encode, Function, Instruction, InstructionSink, RawSection, Section,
};
use wasmparser::{
    BinaryReader, BinaryReaderError, FunctionBody, ImportSectionReader, Operator, TypeRef,
};

/// How much is filled or copied between two looks at the epoch: some 5 µs, some 30 where each page is
/// touched for the first time.
const PIECE: i32 = 64 << 10;
/// Rises with each change of what is made of a component: what was compiled before is compiled anew.
pub(super) const PIECES_VERSION: u32 = 1;
/// How deep components may be nested; composed ones are two or three.
const NESTED_MAX: usize = 64;
/// How long magic number, version and layer are.
const PREAMBLE: usize = 8;
/// What components say about their kind where modules say nothing (the layer).
const COMPONENT_LAYER: u8 = 1;

/// Sections of a component (component model, binary format).
mod of_component {
    pub(super) const CORE_MODULE: u8 = 1;
    pub(super) const COMPONENT: u8 = 4;
}

/// Sections of a module (core specification, 5.5.2).
mod of_module {
    pub(super) const TYPE: u8 = 1;
    pub(super) const IMPORT: u8 = 2;
    pub(super) const FUNCTION: u8 = 3;
    pub(super) const CODE: u8 = 10;
}

/// What is wrong with what was to be taken to pieces; the engine has better words for most of it.
#[derive(Debug)]
pub(super) struct Malformed(String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<BinaryReaderError> for Malformed {
    fn from(error: BinaryReaderError) -> Self {
        Self(error.to_string())
    }
}

/// The component with its long operations in pieces; as it was if it has none.
pub(super) fn in_pieces(component: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    component_in_pieces(component, 0)
}

fn component_in_pieces(component: &[u8], depth: usize) -> Result<Cow<'_, [u8]>, Malformed> {
    if depth > NESTED_MAX {
        return Err(Malformed(format!(
            "components are nested more than {NESTED_MAX} deep"
        )));
    }
    let mut changed = false;
    let mut sections = Vec::new();
    for (id, content) in sections_of(component)? {
        let content = match id {
            of_component::CORE_MODULE => module_in_pieces(content)?,
            of_component::COMPONENT => component_in_pieces(content, depth + 1)?,
            _ => Cow::Borrowed(content),
        };
        changed |= matches!(content, Cow::Owned(_));
        sections.push((id, content));
    }
    Ok(match changed {
        true => Cow::Owned(joined(component, &sections)),
        false => Cow::Borrowed(component),
    })
}

fn module_in_pieces(module: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    // A component where a module should be is for the engine to refuse.
    if module.get(PREAMBLE - 2) == Some(&COMPONENT_LAYER) {
        return Ok(Cow::Borrowed(module));
    }
    let sections = sections_of(module)?;
    let section = |wanted: u8| {
        let found = sections.iter().find(|(id, _)| *id == wanted);
        found.map_or(&[][..], |(_, content)| *content)
    };
    let mut calls = Calls {
        first: imported_functions(section(of_module::IMPORT))?
            .saturating_add(count(section(of_module::FUNCTION))?),
        functions: BTreeMap::new(),
    };
    let code = calls.replace_in(section(of_module::CODE))?;
    if calls.functions.is_empty() {
        return Ok(Cow::Borrowed(module));
    }
    let signature = count(section(of_module::TYPE))?;
    let added = calls.functions.len() as u32;
    let mut rewritten = Vec::with_capacity(sections.len());
    for (id, content) in &sections {
        rewritten.push((
            *id,
            match *id {
                // A function of three i32 without a result.
                of_module::TYPE => with_more(content, 1, &[0x60, 3, 0x7f, 0x7f, 0x7f, 0])?,
                of_module::FUNCTION => {
                    let mut more = Vec::new();
                    (0..added).for_each(|_| signature.encode(&mut more));
                    with_more(content, added, &more)?
                }
                of_module::CODE => Cow::Borrowed(&*code),
                _ => Cow::Borrowed(*content),
            },
        ));
    }
    Ok(Cow::Owned(joined(module, &rewritten)))
}

/// The sections behind the preamble: what each is, and its content.
fn sections_of(binary: &[u8]) -> Result<Vec<(u8, &[u8])>, Malformed> {
    let mut reader = BinaryReader::new(binary, 0);
    reader.read_bytes(PREAMBLE)?;
    let mut sections = Vec::new();
    while !reader.eof() {
        let id = reader.read_u8()?;
        let bytes = reader.read_var_u32()? as usize;
        sections.push((id, reader.read_bytes(bytes)?));
    }
    Ok(sections)
}

/// The preamble of what was, with these sections.
fn joined(binary: &[u8], sections: &[(u8, Cow<'_, [u8]>)]) -> Vec<u8> {
    let mut bytes = binary[..PREAMBLE].to_vec();
    for (id, data) in sections {
        RawSection { id: *id, data }.append_to(&mut bytes);
    }
    bytes
}

/// How many items the section has that this is the content of; none if there is no such section.
fn count(content: &[u8]) -> Result<u32, Malformed> {
    match content {
        [] => Ok(0),
        content => Ok(BinaryReader::new(content, 0).read_var_u32()?),
    }
}

/// The content of a section with so many more items at its end.
fn with_more<'a>(content: &[u8], more: u32, items: &[u8]) -> Result<Cow<'a, [u8]>, Malformed> {
    let mut reader = BinaryReader::new(content, 0);
    let before = reader.read_var_u32()?;
    let mut bytes = Vec::with_capacity(content.len() + items.len() + 5);
    before.saturating_add(more).encode(&mut bytes);
    bytes.extend_from_slice(reader.read_bytes(reader.bytes_remaining())?);
    bytes.extend_from_slice(items);
    Ok(Cow::Owned(bytes))
}

fn imported_functions(content: &[u8]) -> Result<u32, Malformed> {
    if content.is_empty() {
        return Ok(0);
    }
    let mut functions = 0;
    for import in ImportSectionReader::new(BinaryReader::new(content, 0))?.into_imports() {
        functions += u32::from(matches!(
            import?.ty,
            TypeRef::Func(_) | TypeRef::FuncExact(_)
        ));
    }
    Ok(functions)
}

/// An instruction over a range of a memory, with what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bulk {
    Fill { memory: u32 },
    Copy { to: u32, from: u32 },
    Init { memory: u32, data: u32 },
}

/// The functions that a module's instructions are replaced by.
struct Calls {
    /// The number that the first of them has.
    first: u32,
    functions: BTreeMap<Bulk, u32>,
}

impl Calls {
    fn call(&mut self, bulk: Bulk) -> Instruction<'static> {
        let next = self.first + self.functions.len() as u32;
        Instruction::Call(*self.functions.entry(bulk).or_insert(next))
    }

    /// The content of the code section with calls in place of long operations, and the functions
    /// that are called.
    fn replace_in(&mut self, content: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut bodies = Vec::with_capacity(content.len());
        let mut reader = BinaryReader::new(content, 0);
        let before = if content.is_empty() {
            0
        } else {
            reader.read_var_u32()?
        };
        for _ in 0..before {
            let bytes = reader.read_var_u32()? as usize;
            self.replace_in_body(reader.read_bytes(bytes)?)?
                .encode(&mut bodies);
        }
        // By their numbers.
        let mut added: Vec<_> = self.functions.iter().collect();
        added.sort_by_key(|(_, number)| **number);
        for (bulk, _) in &added {
            bulk.in_pieces().encode(&mut bodies);
        }
        let mut code = Vec::with_capacity(bodies.len() + 5);
        before.saturating_add(added.len() as u32).encode(&mut code);
        code.extend_from_slice(&bodies);
        Ok(code)
    }

    fn replace_in_body<'a>(&mut self, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Malformed> {
        let mut operators = FunctionBody::new(BinaryReader::new(body, 0)).get_operators_reader()?;
        let mut replaced = Vec::new();
        let mut copied = 0;
        let mut is_short = false;
        while !operators.eof() {
            let (operator, begin) = operators.read_with_offset()?;
            let bulk = match operator {
                // Over at once.
                _ if is_short => None,
                Operator::MemoryFill { mem } => Some(Bulk::Fill { memory: mem }),
                Operator::MemoryCopy { dst_mem, src_mem } => Some(Bulk::Copy {
                    to: dst_mem,
                    from: src_mem,
                }),
                Operator::MemoryInit { data_index, mem } => Some(Bulk::Init {
                    memory: mem,
                    data: data_index,
                }),
                _ => None,
            };
            // The length comes last, and is often a constant.
            is_short =
                matches!(operator, Operator::I32Const { value } if (0..=PIECE).contains(&value));
            if let Some(bulk) = bulk {
                replaced.extend_from_slice(&body[copied..begin]);
                self.call(bulk).encode(&mut replaced);
                copied = operators.original_position();
            }
        }
        if copied == 0 {
            return Ok(Cow::Borrowed(body));
        }
        replaced.extend_from_slice(&body[copied..]);
        Ok(Cow::Owned(replaced))
    }
}

/// The parameters of the instructions and of the functions in their place.
const TO: u32 = 0;
const WHAT: u32 = 1;
const LENGTH: u32 = 2;

impl Bulk {
    fn add_to(self, code: &mut InstructionSink<'_>) {
        match self {
            Self::Fill { memory } => code.memory_fill(memory),
            Self::Copy { to, from } => code.memory_copy(to, from),
            Self::Init { memory, data } => code.memory_init(memory, data),
        };
    }

    /// The function that does what the instruction does. A range that does not lie in its memory is
    /// left to the instruction, which traps before it writes anything.
    fn in_pieces(self) -> Function {
        let mut function = Function::new([]);
        let mut code = function.instructions();
        code.local_get(LENGTH).i32_const(PIECE).i32_gt_u();
        code.if_(BlockType::Empty);
        let ranges = match self {
            Self::Fill { memory } | Self::Init { memory, .. } => vec![(TO, memory)],
            Self::Copy { to, from } => vec![(TO, to), (WHAT, from)],
        };
        for &(begin, memory) in &ranges {
            code.local_get(begin).i64_extend_i32_u();
            code.local_get(LENGTH).i64_extend_i32_u().i64_add();
            // In pages of 64 KiB.
            code.memory_size(memory).i64_extend_i32_u();
            code.i64_const(16).i64_shl().i64_le_u();
            code.if_(BlockType::Empty);
        }
        if let Self::Copy { .. } = self {
            // Towards higher addresses what is behind has to be copied first.
            code.local_get(TO).local_get(WHAT).i32_gt_u();
            code.if_(BlockType::Empty);
            code.loop_(BlockType::Empty);
            code.local_get(LENGTH).i32_const(PIECE).i32_sub();
            code.local_set(LENGTH);
            code.local_get(TO).local_get(LENGTH).i32_add();
            code.local_get(WHAT).local_get(LENGTH).i32_add();
            code.i32_const(PIECE);
            self.add_to(&mut code);
            code.local_get(LENGTH).i32_const(PIECE).i32_gt_u();
            code.br_if(0).end();
            code.else_();
        }
        code.loop_(BlockType::Empty);
        code.local_get(TO).local_get(WHAT).i32_const(PIECE);
        self.add_to(&mut code);
        let moving: &[u32] = match self {
            Self::Fill { .. } => &[TO],
            Self::Copy { .. } | Self::Init { .. } => &[TO, WHAT],
        };
        for &begin in moving {
            code.local_get(begin).i32_const(PIECE).i32_add();
            code.local_set(begin);
        }
        code.local_get(LENGTH).i32_const(PIECE).i32_sub();
        code.local_tee(LENGTH).i32_const(PIECE).i32_gt_u();
        code.br_if(0).end();
        if let Self::Copy { .. } = self {
            code.end();
        }
        for _ in &ranges {
            code.end();
        }
        code.end();
        // What is left, or all of it.
        code.local_get(TO).local_get(WHAT).local_get(LENGTH);
        self.add_to(&mut code);
        code.end();
        function
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Config, Engine, Instance, Module, Store, UpdateDeadline};

    use super::*;

    const P: u32 = PIECE as u32;
    /// Bytes of the memory below.
    const SIZE: u32 = 8 * P;
    /// Bytes of the segment below.
    const SEGMENT: u32 = 3 * P;

    fn module(functions: &str) -> Vec<u8> {
        let segment = "a piece of data.".repeat(SEGMENT as usize / 16);
        let text = format!(
            "(module
               (import \"host\" \"before\" (func $before))
               (memory (export \"memory\") 8)
               (memory $other (export \"other\") 8)
               (func (export \"first\") (result i32) call $before i32.const 7)
               {functions}
               (data $segment \"{segment}\"))"
        );
        wat::parse_str(text).expect("the test's module is well-formed")
    }

    fn operations() -> Vec<u8> {
        let function = |name: &str, operation: &str| {
            format!(
                "(func (export \"{name}\") (param i32 i32 i32)
                   local.get 0 local.get 1 local.get 2 {operation})"
            )
        };
        module(
            &[
                function("fill", "memory.fill"),
                function("fill other", "memory.fill $other"),
                function("copy", "memory.copy"),
                function("copy to other", "memory.copy $other 0"),
                function("copy from other", "memory.copy 0 $other"),
                function("init", "memory.init $segment"),
            ]
            .concat(),
        )
    }

    struct Guest {
        store: Store<u32>,
        instance: Instance,
    }

    impl Guest {
        /// Counts how often an epoch could have ended.
        fn start(module: &[u8]) -> Self {
            let mut config = Config::new();
            config.epoch_interruption(true);
            let engine = Engine::new(&config).expect("an engine");
            let module = Module::new(&engine, module).expect("a valid module");
            let mut store = Store::new(&engine, 0);
            store.set_epoch_deadline(0);
            store.epoch_deadline_callback(|mut store| {
                *store.data_mut() += 1;
                Ok(UpdateDeadline::Continue(0))
            });
            let before = wasmtime::Func::wrap(&mut store, || ());
            let instance = Instance::new(&mut store, &module, &[before.into()]);
            let instance = instance.expect("an instance");
            let mut guest = Self { store, instance };
            for (memory, factor) in [("memory", 31), ("other", 37)] {
                for (at, byte) in guest.memory(memory).iter_mut().enumerate() {
                    *byte = ((at * factor) >> 3) as u8;
                }
            }
            guest
        }

        fn memory(&mut self, name: &str) -> &mut [u8] {
            let memory = self.instance.get_memory(&mut self.store, name);
            memory.expect("a memory").data_mut(&mut self.store)
        }

        fn call(&mut self, name: &str, parameters: (u32, u32, u32)) -> Result<(), String> {
            let function = self.instance.get_typed_func(&mut self.store, name);
            let function = function.expect("a function");
            let called = function.call(&mut self.store, parameters);
            called.map_err(|error| error.root_cause().to_string())
        }
    }

    #[test]
    fn an_operation_in_pieces_does_what_it_did() {
        let whole = operations();
        let pieces = module_in_pieces(&whole).expect("a module");
        assert_ne!(whole, *pieces);
        let [mut whole, mut pieces] = [&whole, &*pieces].map(Guest::start);
        let lengths = [0, 1, P - 1, P, P + 1, 2 * P, 3 * P, 3 * P - 5, 7 * P + 3];
        let places = [
            0,
            1,
            5,
            P,
            P + 9,
            SIZE - P,
            SIZE - 1,
            SIZE,
            SIZE + 1,
            u32::MAX - P,
        ];
        let names = [
            "fill",
            "fill other",
            "copy",
            "copy to other",
            "copy from other",
            "init",
        ];
        let (mut done, mut refused) = (0, 0);
        for name in names {
            for (to, from) in places.iter().flat_map(|to| places.map(|from| (*to, from))) {
                for length in lengths.into_iter().chain([u32::MAX, u32::MAX - to]) {
                    let case = format!("{name} {to} {from} {length}");
                    let expect = whole.call(name, (to, from, length));
                    assert_eq!(pieces.call(name, (to, from, length)), expect, "{case}");
                    // What was written before a trap nobody sees: the instance ends with it.
                    let same = ["memory", "other"]
                        .iter()
                        .all(|name| whole.memory(name) == pieces.memory(name));
                    assert!(same || (expect.is_err() && name == "init"), "{case}");
                    if !same {
                        let right = whole.memory("memory").to_vec();
                        pieces.memory("memory").copy_from_slice(&right);
                    }
                    done += u32::from(expect.is_ok());
                    refused += u32::from(expect.is_err());
                }
            }
        }
        assert!(
            done > 1_000 && refused > 1_000,
            "{done} done, {refused} refused"
        );
    }

    #[test]
    fn an_epoch_can_end_between_two_pieces() {
        /// How often it could have ended.
        fn looks(module: &[u8], name: &str, parameters: (u32, u32, u32)) -> u32 {
            let mut guest = Guest::start(module);
            let called = guest.call(name, parameters);
            called.expect("it is in its memory");
            *guest.store.data()
        }
        let whole = operations();
        let pieces = module_in_pieces(&whole).expect("a module");
        for (name, to, from) in [
            ("fill", P, 0),
            ("copy", P, 0),
            ("copy", 0, P),
            ("init", 0, 0),
        ] {
            let looks = |count: u32| {
                let parameters = (to, from, count * P);
                (
                    looks(&whole, name, parameters),
                    looks(&pieces, name, parameters),
                )
            };
            let (before, short) = looks(1);
            for count in [2, 3] {
                let (whole, pieces) = looks(count);
                assert_eq!(whole, before, "{name} as it was");
                let least = short + count - 1;
                assert!(
                    pieces >= least,
                    "{name} of {count} pieces: {pieces} of {least}"
                );
            }
        }
    }

    #[test]
    fn other_functions_keep_their_numbers() {
        let module = operations();
        let mut guest = Guest::start(&module_in_pieces(&module).expect("a module"));
        let first = guest
            .instance
            .get_typed_func::<(), u32>(&mut guest.store, "first");
        assert_eq!(first.unwrap().call(&mut guest.store, ()).unwrap(), 7);
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        let with_length = |length: u32| {
            module(&format!(
                "(func (param i32) local.get 0 i32.const 0 i32.const {length} memory.fill)"
            ))
        };
        for (length, stays) in [(0, true), (P, true), (P + 1, false), (u32::MAX, false)] {
            let module = with_length(length);
            let pieces = module_in_pieces(&module).expect("a module");
            assert_eq!(matches!(pieces, Cow::Borrowed(_)), stays, "{length}");
        }
        for last in [
            "i32.const 1 drop local.get 0",
            "i32.const 7 local.get 0 i32.add",
        ] {
            let module = module(&format!(
                "(func (param i32) local.get 0 local.get 0 {last} memory.fill)"
            ));
            assert!(matches!(module_in_pieces(&module), Ok(Cow::Owned(_))));
        }
    }

    fn component(inner: &str, depth: usize) -> Vec<u8> {
        let text = format!(
            "{}{inner}{}",
            "(component ".repeat(depth),
            ")".repeat(depth)
        );
        wat::parse_str(text).expect("the test's component is well-formed")
    }

    #[test]
    fn modules_are_found_however_deep() {
        let module = "(core module (memory 1) (func (param i32) local.get 0 local.get 0 local.get 0 memory.fill))";
        for depth in [1, 2, NESTED_MAX] {
            let component = component(module, depth);
            let pieces = in_pieces(&component).expect("a component");
            assert!(pieces.len() > component.len(), "{depth}");
        }
        let engine = Engine::default();
        for depth in [1, 2, 5] {
            let component = component(module, depth);
            let pieces = in_pieces(&component).expect("a component");
            wasmtime::component::Component::new(&engine, &pieces).expect("it is valid");
        }
        let error = in_pieces(&component(module, NESTED_MAX + 2)).expect_err("too deep");
        assert_eq!(error.to_string(), "components are nested more than 64 deep");
    }

    #[test]
    fn what_is_cut_off_or_not_wasm_is_refused_and_never_a_panic() {
        let whole = component(
            "(core module (memory 1) (func (param i32) local.get 0 local.get 0 local.get 0 memory.fill))",
            1,
        );
        for length in 0..whole.len() {
            let _ = in_pieces(&whole[..length]);
            let mut wrong = whole.clone();
            for byte in [0, 0x7f, 0xff] {
                wrong[length] = byte;
                let _ = in_pieces(&wrong);
            }
        }
        assert!(in_pieces(b"").is_err());
        assert!(in_pieces(b"\0asm\x0d\0\x01\0\x01\xff").is_err());
    }
}
