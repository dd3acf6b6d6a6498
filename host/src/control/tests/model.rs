//! The registry against a model of plain lists: whatever is deployed, taken back, deleted and
//! restarted in whatever order, with right and stale generations, each tenant sees what it did.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TENANTS: [&str; 2] = ["acme", "zebra"];
const NAMES: [&str; 3] = ["a", "b", "c"];
const COMPONENTS: u32 = 4;
/// As `Place::settings` has them.
const KEPT: usize = 3;
const DEPLOYMENTS_MAX: usize = 2;

type Key = (usize, usize);

/// One deployment: its generation, its versions as (number, component), current and previous.
#[derive(Clone, Debug, Default)]
struct Model {
    generation: u64,
    versions: Vec<(u64, u32)>,
    current: Option<u64>,
    previous: Option<u64>,
}

#[derive(Clone, Debug)]
enum Step {
    /// With how far the expected generation is off.
    Deploy(Key, u32, u64),
    RollBack(Key, u64),
    Delete(Key, u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || (0..TENANTS.len(), 0..NAMES.len());
    let off = || prop_oneof![5 => Just(0_u64), 1 => 1..3_u64];
    prop_oneof![
        6 => (key(), 0..COMPONENTS, off()).prop_map(|(key, number, off)| Step::Deploy(key, number, off)),
        3 => (key(), off()).prop_map(|(key, off)| Step::RollBack(key, off)),
        1 => (key(), off()).prop_map(|(key, off)| Step::Delete(key, off)),
        1 => Just(Step::Restart),
    ]
}

struct Both {
    place: Place,
    registry: Option<Registry>,
    model: BTreeMap<Key, Model>,
    components: Vec<Vec<u8>>,
}

impl Both {
    fn new() -> Self {
        let place = Place::new();
        Self {
            registry: Some(place.open()),
            place,
            model: BTreeMap::new(),
            components: (0..COMPONENTS).map(numbered).collect(),
        }
    }

    fn registry(&self) -> &Registry {
        self.registry.as_ref().expect("it is open")
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Deploy(key, number, off) => self.deploy(key, number, off),
            Step::RollBack(key, off) => self.roll_back(key, off),
            Step::Delete(key, off) => self.delete(key, off),
            Step::Restart => {
                self.registry = None;
                self.registry = Some(self.place.open());
            }
        }
    }

    fn deploy(&mut self, key: Key, number: u32, off: u64) {
        let live = |(of, model): &(&Key, &Model)| of.0 == key.0 && model.current.is_some();
        let full = self.model.iter().filter(live).count() >= DEPLOYMENTS_MAX;
        let model = self.model.entry(key).or_default();
        let expected = model.generation + off;
        let right = if off > 0 {
            let found = model.generation;
            Err(DeployError::Conflict { expected, found })
        } else if full && model.current.is_none() {
            Err(DeployError::TooMany(DEPLOYMENTS_MAX as u32))
        } else {
            model.generation += 1;
            model.versions.push((model.generation, number));
            model.previous = model.current;
            model.current = Some(model.generation);
            while model.versions.len() > KEPT {
                let used = [model.current, model.previous];
                let oldest = model.versions.iter();
                let unused = oldest
                    .enumerate()
                    .find(|(_, (number, _))| !used.contains(&Some(*number)));
                let (place, _) = unused.expect("two of four are in use");
                model.versions.remove(place);
            }
            Ok(model.generation)
        };
        let mut upload = upload(NAMES[key.1], &self.components[number as usize], PLAIN);
        upload.tenant = TENANTS[key.0];
        let done = self.registry().deploy(&upload, expected, &mut |_| {});
        assert_eq!(done.map(|published| published.deployment.generation), right);
    }

    fn roll_back(&mut self, key: Key, off: u64) {
        let model = self.model.entry(key).or_default();
        let expected = model.generation + off;
        let right = match (model.current, model.previous) {
            (None, _) => Err(DeployError::NotFound),
            (_, None) => Err(DeployError::NoPrevious),
            _ if off > 0 => {
                let found = model.generation;
                Err(DeployError::Conflict { expected, found })
            }
            (current, previous) => {
                model.generation += 1;
                (model.current, model.previous) = (previous, current);
                Ok(model.generation)
            }
        };
        let (tenant, name) = (TENANTS[key.0], NAMES[key.1]);
        let done = self.registry().roll_back(tenant, name, expected, "ann");
        assert_eq!(done.map(|published| published.deployment.generation), right);
    }

    fn delete(&mut self, key: Key, off: u64) {
        let model = self.model.entry(key).or_default();
        let expected = model.generation + off;
        let right = if off > 0 {
            let found = model.generation;
            Err(DeployError::Conflict { expected, found })
        } else if model.current.is_none() {
            Err(DeployError::NotFound)
        } else {
            *model = Model {
                generation: model.generation + 1,
                ..Model::default()
            };
            Ok(model.generation)
        };
        let (tenant, name) = (TENANTS[key.0], NAMES[key.1]);
        assert_eq!(self.registry().delete(tenant, name, expected, "ann"), right);
    }

    /// Compares all that is stored, and that nothing is there that nobody needs.
    fn compare(&self) {
        let mut artifacts = Vec::new();
        for (key, model) in &self.model {
            let (tenant, name) = (TENANTS[key.0], NAMES[key.1]);
            let registry = self.registry();
            assert_eq!(registry.generation(tenant, name), Ok(model.generation));
            let digest = |number: u32| Digest::of(&self.components[number as usize]);
            let versions = model.versions.iter();
            let versions: Vec<_> = versions.map(|(n, of)| (*n, digest(*of))).collect();
            artifacts.extend(versions.iter().map(|(_, digest)| *digest));
            let Some(current) = model.current else {
                assert_eq!(registry.get(tenant, name), Err(DeployError::NotFound));
                continue;
            };
            let found = registry.get(tenant, name).expect("it is there");
            assert_eq!(found.current.number, current);
            let previous = found.previous.map(|version| version.number);
            assert_eq!(previous, model.previous);
            let found = registry.versions(tenant, name).expect("it is there");
            let found: Vec<_> = found.iter().map(|v| (v.number, v.artifact)).collect();
            assert_eq!(found, versions);
        }
        artifacts.sort_unstable();
        artifacts.dedup();
        let files = self.place.files("artifacts");
        let names = files.iter().filter_map(|file| file.file_stem()?.to_str());
        let found: Vec<Digest> = names.filter_map(|name| name.parse().ok()).collect();
        // A deploy that was refused in the end leaves its component until the next change.
        for digest in &artifacts {
            assert!(found.contains(digest), "{digest} is missing");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_registry_does_what_plain_lists_would(steps in prop::collection::vec(step(), 1..25)) {
        let mut both = Both::new();
        for step in &steps {
            both.take(step);
            both.compare();
        }
        // After a restart nothing is left that no version needs.
        both.take(&Step::Restart);
        both.compare();
        let needed: std::collections::BTreeSet<u32> =
            both.model.values().flat_map(|model| model.versions.iter().map(|(_, of)| *of)).collect();
        prop_assert_eq!(both.place.files("artifacts").len(), needed.len());
        prop_assert_eq!(both.place.files("compiled").len(), needed.len());
    }
}
