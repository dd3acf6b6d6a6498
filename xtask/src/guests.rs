//! `cargo xtask guests`: builds every example and test guest from source to
//! `target/guests/NAME.wasm`, only those that changed, and checks each result.
//! It finds the tools that it needs or fetches them into `target/toolchain`;
//! it never changes the machine, except for `rustup target add`.

mod c;
mod command;
mod component;
mod debian;
mod fresh;
mod guest;
mod javascript;
mod rust;
mod rust_toolchain;
mod text;
mod versions;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use guest::{Guest, Language};
use versions::USERS_TARGET;

/// How long a person waits without a word.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// What `cargo xtask guests` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build only these; all of them when none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Build the handler in that folder instead, as `wharf new` makes it, to
    /// where `cargo build --release` puts it there
    #[arg(long, value_name = "FOLDER", conflicts_with = "names")]
    folder: Option<PathBuf>,
}

/// Builds the guests that the arguments name.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.folder {
        Some(folder) => build_folder(folder),
        None => build(&arguments.names),
    }
}

/// Builds these guests, or all when `names` is empty.
pub(crate) fn build(names: &[String]) -> Result<()> {
    let workshop = Workshop::open()?;
    let _lock = workshop.lock()?;
    let guests = select(guest::discover(&workshop.root)?, names)?;
    let begun = Instant::now();
    let failures = Mutex::new(Vec::new());
    // One lane per language: each has its tools to itself, and finding or
    // fetching the tools of one does not hold up the others.
    std::thread::scope(|scope| {
        for language in Language::ALL {
            let lane: Vec<&Guest> = guests.iter().filter(|g| g.language == language).collect();
            let (workshop, failures) = (&workshop, &failures);
            scope.spawn(move || {
                if let Err(failure) = build_lane(workshop, language, &lane) {
                    failures.lock().expect("no lane panics").push(failure);
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no lane panics");
    for failure in &failures {
        eprintln!("\nerror: {failure:#}");
    }
    if !failures.is_empty() {
        bail!("{} of the guests' languages failed", failures.len());
    }
    let seconds = begun.elapsed().as_secs_f32();
    println!(
        "{} guests are in target/guests ({seconds:.1} s)",
        guests.len()
    );
    Ok(())
}

/// Builds a handler in Rust that lies anywhere, for machines without the target
/// that its own folder names.
fn build_folder(folder: &Path) -> Result<()> {
    let workshop = Workshop::open()?;
    let _lock = workshop.lock()?;
    let guest = guest::in_rust(folder)?;
    let cargo = rust::Cargo::find(&workshop)?;
    let built = cargo.build_as_users_do(&workshop, &guest)?;
    let bytes = component::finish(&workshop, built)?;
    let place = guest.path.join("target").join(USERS_TARGET).join("release");
    let file = place.join(rust::file_name(&guest));
    fs::create_dir_all(&place)
        .and_then(|()| fs::write(&file, &bytes))
        .with_context(|| format!("writing {}", file.display()))?;
    println!("{}  {} bytes", file.display(), bytes.len());
    Ok(())
}

/// Cargo with a subcommand and what it needs to compile for the guests' target.
pub(crate) fn cargo_for_wasm(subcommand: &str) -> Result<Command> {
    let workshop = Workshop::open()?;
    let _lock = workshop.lock()?;
    Ok(rust::Cargo::find(&workshop)?.command(subcommand))
}

fn select(all: Vec<Guest>, names: &[String]) -> Result<Vec<Guest>> {
    for name in names {
        if !all.iter().any(|guest| guest.name == *name) {
            let known: Vec<&str> = all.iter().map(|guest| guest.name.as_str()).collect();
            bail!(
                "no guest is named {name:?}; there are: {}",
                known.join(", ")
            );
        }
    }
    let wanted = |guest: &Guest| names.is_empty() || names.contains(&guest.name);
    Ok(all.into_iter().filter(wanted).collect())
}

/// Builds the guests of one language, one after the other.
fn build_lane(workshop: &Workshop, language: Language, guests: &[&Guest]) -> Result<()> {
    let mut stale = Vec::new();
    for &guest in guests {
        let stamp = fresh::stamp(workshop, guest)?;
        if fresh::is_fresh(workshop, guest, &stamp) {
            println!("{:>18}  fresh", guest.name);
        } else {
            stale.push((guest, stamp));
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    let mut builder = accompanied(language.name(), || language.builder(workshop))?;
    for (guest, stamp) in stale {
        let begun = Instant::now();
        let bytes = accompanied(&guest.name, || {
            let built = builder.build(workshop, guest)?;
            component::finish(workshop, built)
        })
        .with_context(|| format!("guest {}", guest.name))?;
        fresh::store(workshop, guest, &bytes, &stamp)?;
        let (size, seconds) = (bytes.len(), begun.elapsed().as_secs_f32());
        println!("{:>18}  {size:>9} bytes  {seconds:>5.1} s", guest.name);
    }
    Ok(())
}

/// Does long work and says now and then that it goes on.
fn accompanied<R>(name: &str, work: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let (done, waiting) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while waiting.recv_timeout(SIGN_OF_LIFE) == Err(RecvTimeoutError::Timeout) {
                println!("{name:>18}  at work for {} s", begun.elapsed().as_secs());
            }
        });
        let outcome = work();
        drop(done);
        outcome
    })
}

/// What a language's tools make of a guest.
enum Built {
    /// A core module that carries the description of its world.
    Core(Vec<u8>),
    /// A core module that does not say what its world is.
    Bare(Vec<u8>),
    /// A component already.
    Component(Vec<u8>),
}

/// The tools of one language, found and ready.
trait Builder {
    fn build(&mut self, workshop: &Workshop, guest: &Guest) -> Result<Built>;
}

/// The folders that a build reads and writes.
struct Workshop {
    /// The repository.
    root: PathBuf,
    /// Where tools are fetched to.
    toolchain: PathBuf,
    /// Where compilers put what they make.
    build: PathBuf,
    /// Where finished components go.
    out: PathBuf,
    /// Held by a lane while it uses apt: two at once would share its lists.
    apt: Mutex<()>,
}

impl Workshop {
    fn open() -> Result<Workshop> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in the repository's root")?
            .to_owned();
        let target = root.join("target");
        let workshop = Workshop {
            toolchain: target.join("toolchain"),
            build: target.join("guests-build"),
            out: target.join("guests"),
            apt: Mutex::new(()),
            root,
        };
        for folder in [&workshop.toolchain, &workshop.build, &workshop.out] {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        Ok(workshop)
    }

    /// One build at a time: the next waits here. The system releases the lock
    /// however the process ends.
    fn lock(&self) -> Result<File> {
        let path = self.build.join("lock");
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        if file.try_lock().is_err() {
            println!("waiting for another `cargo xtask guests`");
            file.lock()
                .with_context(|| format!("locking {}", path.display()))?;
        }
        Ok(file)
    }
}
