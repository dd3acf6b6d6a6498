//! Which files and ports the kernel lets this process use: rules of landlock, which hold for a
//! folder and all below it.
//!
//! A rule sticks to the file or folder that is there when it is made. A file that takes another's
//! place is a new one: what is read again later has to be named by its folder.

use std::path::PathBuf;

use anyhow::{Context, Result};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetStatus, Scope, path_beneath_rules,
};

use super::Needs;

/// The newest interface that these rules were tried with; a newer kernel holds them all the same.
const NEWEST: ABI = ABI::V6;

/// What the C library reads for names of hosts, and the TLS library for the machine's roots.
const OF_THE_SYSTEM: &[&str] = &[
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/nscd",
    // Modules by which names are looked up are loaded when the first one is.
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/nix/store",
    "/usr/share/zoneinfo",
    // Its own figures. What is shown of other processes is up to the kernel's rules for that, and a
    // process under landlock may not look into others.
    "/proc",
    "/dev/urandom",
];
/// What loads a program that is started.
const LOADERS: &[&str] = &[
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-linux-riscv64-lp64d.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
    "/nix/store",
];

/// Whether names of hosts are looked up, certificates checked and figures of the process shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    Read,
    Closed,
}

/// Sets the rules; the version of the interface that holds, if there is one, and whether it holds
/// ports.
pub(super) fn restrict(needs: &Needs, system: System) -> Result<(Option<u32>, bool)> {
    let all = AccessFs::from_all(NEWEST);
    // The first version refuses to rename between folders, whatever its rules say: then none hold.
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::SoftRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?;
    // One signal that is sent is to a process that was started here; the log and the service manager
    // are reached by descriptors and paths.
    if !notifies_by_abstract_name() {
        rules = rules.scope(Scope::AbstractUnixSocket)?;
    }
    rules = rules
        .scope(Scope::Signal)?
        .handle_access(AccessNet::BindTcp)?;
    if needs.connects.is_some() {
        rules = rules.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut rules = rules.create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    if system == System::Read {
        let of_the_system = OF_THE_SYSTEM.iter().map(PathBuf::from);
        let certificates = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
        let certificates = certificates.iter().filter_map(std::env::var_os);
        rules = rules
            .add_rules(path_beneath_rules(of_the_system, read))?
            .add_rules(path_beneath_rules(certificates.map(PathBuf::from), read))?
            .add_rules(path_beneath_rules(
                ["/dev/null"],
                read | AccessFs::WriteFile,
            ))?;
    }
    let write = all & !BitFlags::from(AccessFs::Execute) & !special();
    rules = rules
        .add_rules(path_beneath_rules(&needs.reads, read))?
        .add_rules(path_beneath_rules(
            needs.writes.iter().chain(&needs.folders),
            write,
        ))?;
    for program in &needs.executes {
        let file = PathFd::new(program).with_context(|| program.display().to_string())?;
        rules = rules.add_rule(PathBeneath::new(
            file,
            AccessFs::Execute | AccessFs::ReadFile,
        ))?;
    }
    if !needs.executes.is_empty() {
        rules = rules.add_rules(path_beneath_rules(LOADERS, read | AccessFs::Execute))?;
    }
    for port in needs.connects.iter().flatten() {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    let status = rules.restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } if status.ruleset != RulesetStatus::NotEnforced => {
            let version = kernel_abi.and_then(|abi| u32::try_from(abi).ok());
            let holds_ports = effective_abi >= ABI::V4;
            (Some(version.unwrap_or(effective_abi as u32)), holds_ports)
        }
        _ => (None, false),
    })
}

/// Nodes that are no files.
fn special() -> BitFlags<AccessFs> {
    AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev
}

/// Whether the service manager listens on a socket without a file.
fn notifies_by_abstract_name() -> bool {
    let socket = std::env::var_os("NOTIFY_SOCKET");
    socket.is_some_and(|name| name.as_encoded_bytes().starts_with(b"@"))
}
