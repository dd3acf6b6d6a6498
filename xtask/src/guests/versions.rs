//! Every version that a guest's build depends on and that no manifest pins.
//! Rust crates are pinned by each guest's Cargo.lock, npm packages by exact
//! versions in each guest's `package.json`; Debian's archive keeps one version of a package, and
//! its name says which.

/// The Rust target of guests: it imports nothing that a guest does not use.
pub(super) const RUST_TARGET: &str = "wasm32-unknown-unknown";

/// The Rust target that `wharf new` tells users to build for.
pub(super) const USERS_TARGET: &str = "wasm32-wasip2";

/// A Rust compiler, its standard library's source, and what it runs on:
/// Debian 12 and later (from the security archive).
pub(super) const DEBIAN_RUST: &[&str] = &["rustc-web", "rust-web-src", "libllvm22"];

/// A linker for wasm, where the Rust toolchain has none of its own.
pub(super) const DEBIAN_LINKER: &[&str] = &["lld-19"];

/// A C compiler, linker and library for wasm.
pub(super) const DEBIAN_C: &[&str] = &[
    "clang-19",
    "lld-19",
    "wasi-libc",
    "libclang-rt-19-dev-wasm32",
];

/// The same from Python's registry, for machines without Debian's packages.
pub(super) const ZIG: &str = "ziglang==0.17.1";
