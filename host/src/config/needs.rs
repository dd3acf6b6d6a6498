//! What a server of this configuration needs of the machine once it has started: which files, which
//! ports. Everything else may be taken from its process.
//!
//! Files that are read again on SIGHUP or when they change are named by their folders: an editor, and
//! whoever renews a certificate, puts a new file in the place of the old one.

use std::path::{Path, PathBuf};

use super::Config;
use crate::catalog::Grants;
use crate::rights::{Needs, folder_of};
use crate::storage::StoragePlace;
use crate::traces::TraceSettings;

/// Names of hosts are asked for over TCP when the answer is long.
const DNS_PORT: u16 = 53;

impl Config {
    /// Files, programs and ports. `files` are further ones that it reads: the configuration's own,
    /// and components that the command line names.
    #[must_use]
    pub fn needs(&self, files: &[&Path]) -> Needs {
        let mut needs = Needs::default();
        let read = files.iter().copied();
        let read = read.chain(self.files_read.iter().map(PathBuf::as_path));
        let components = self.routes.iter().map(|route| route.component.as_path());
        let tls = self.tls.iter();
        let tls = tls.flat_map(|files| [files.certificate.as_path(), files.key.as_path()]);
        let roots = self.outbound.roots.as_deref();
        for file in read.chain(components).chain(tls).chain(roots) {
            needs.read_again(file);
        }
        if let Some(StoragePlace::File(file)) = self.storage.as_ref().map(|storage| &storage.place)
        {
            needs.writes.push(file.clone());
        }
        let mut grants: Vec<&Grants> = self.routes.iter().map(|route| &route.grants).collect();
        if let Some(deployments) = &self.deployments {
            needs.folders.push(deployments.folder.clone());
            needs.executes.extend(deployments.compiler.clone());
            let rules = self
                .tenants
                .values()
                .filter_map(|tenant| tenant.deploy.as_ref());
            grants.extend(rules.map(|rules| &rules.grants));
        }
        let to = grants
            .iter()
            .flat_map(|grants| grants.http.iter().chain(&grants.websocket));
        let collector = self.traces.as_ref().map(TraceSettings::port);
        let ports = to.map(|to| to.port()).chain([DNS_PORT]).chain(collector);
        let mut ports: Vec<u16> = ports.collect();
        ports.sort_unstable();
        ports.dedup();
        needs.connects = Some(ports);
        needs.reads.sort_unstable();
        needs.reads.dedup();
        needs
    }
}

impl Needs {
    /// A file, and what takes its place later. Where it is a link, what it leads to, too: there the
    /// new one is.
    fn read_again(&mut self, file: &Path) {
        let target = file.canonicalize().ok();
        for file in [Some(file.to_owned()), target].into_iter().flatten() {
            let folder = folder_of(&file);
            // Nobody means all files of the machine.
            let is_all = folder
                .canonicalize()
                .is_ok_and(|folder| folder == Path::new("/"));
            self.reads.push(if is_all { file } else { folder });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_what_it_needs() {
        let text = r#"
            [storage]
            path = "data/wharf.redb"
            [traces]
            endpoint = "http://collector:4318"
            [deployments]
            path = "deployments"
            [tenant.acme.deploy.grants]
            http = ["api.example:8443"]
        "#;
        let config = Config::parse(text, Path::new("/etc/wharf/wharf.toml")).expect("sound");
        let needs = config.needs(&[Path::new("/etc/wharf/wharf.toml")]);
        assert_eq!(needs.reads, [Path::new("/etc/wharf")]);
        assert_eq!(needs.writes, [Path::new("/etc/wharf/data/wharf.redb")]);
        assert_eq!(needs.folders, [Path::new("/etc/wharf/deployments")]);
        assert_eq!(needs.connects, Some(vec![53, 4318, 8443]));
        assert!(needs.executes.is_empty());
    }

    #[test]
    fn what_a_reload_asks_beyond_the_start_is_named() {
        let parse = |text| Config::parse(text, Path::new("/a/wharf.toml")).expect("sound");
        let had = parse("").needs(&[Path::new("/a/wharf.toml")]);
        assert_eq!(had.beyond(&had), [""; 0]);
        let next = parse("[storage]\npath = \"s.redb\"").needs(&[Path::new("/b/x.wasm")]);
        assert_eq!(next.beyond(&had), ["reading /b", "writing /a/s.redb"]);
        assert_eq!(had.beyond(&next), ["reading /a"]);
    }
}
