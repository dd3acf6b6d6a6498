//! JavaScript guests: QuickJS with the script inside, by the SDK's own build script
//! and the npm package that the guest's `package.json` names. There is no lock file: the package
//! pins all that it needs to its own version, and lists platforms that its
//! registry does not have, which `npm ci` refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::guest::{Guest, main_source};
use super::{Builder, Built, Workshop, command};

/// What installs, and what builds.
pub(super) struct QuickJs {
    npm: PathBuf,
    node: PathBuf,
}

impl QuickJs {
    pub(super) fn find() -> Result<QuickJs> {
        for program in ["node", "npm"] {
            if command::find(program).is_none() {
                bail!(
                    "JavaScript guests need {program}, of Node.js 18 or later. Install it:\n\
                     \n    apt-get install nodejs npm     (Debian)\
                     \n    brew install node              (macOS)\
                     \n    https://nodejs.org/            (elsewhere)"
                );
            }
        }
        println!("JavaScript guests: QuickJS by npm");
        Ok(QuickJs {
            npm: command::find("npm").context("npm was found above")?,
            node: command::find("node").context("node was found above")?,
        })
    }

    /// Installs what the guest's manifest asks for, outside of its folder.
    fn install(&self, guest: &Guest, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let manifest = guest.path.join("package.json");
        let wanted =
            fs::read(&manifest).with_context(|| format!("reading {}", manifest.display()))?;
        let kept = folder.join("package.json");
        let installed = folder.join("node_modules/.bin/componentize-qjs").is_file();
        if installed && fs::read(&kept).is_ok_and(|kept| kept == wanted) {
            return Ok(());
        }
        fs::write(&kept, wanted)?;
        let mut install = Command::new(&self.npm);
        install.args([
            "install",
            "--no-package-lock",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ]);
        command::run(install.current_dir(folder))?;
        Ok(())
    }
}

impl Builder for QuickJs {
    fn build(&mut self, workshop: &Workshop, guest: &Guest) -> Result<Built> {
        let folder = workshop.build.join("javascript").join(&guest.name);
        self.install(guest, &folder)?;
        let script = main_source(&guest.name);
        let output = folder.join("component.wasm");
        let mut build = Command::new(&self.node);
        build
            .arg(workshop.root.join("guest-sdk/js/build.mjs"))
            .arg(guest.path.join(format!("{script}.js")))
            .arg("--tool")
            .arg(folder.join("node_modules/.bin/componentize-qjs"))
            .arg("-o")
            .arg(&output);
        command::run(&mut build)?;
        let bytes = fs::read(&output).with_context(|| format!("reading {}", output.display()))?;
        Ok(Built::Component(bytes))
    }
}
