//! What is stored of deployments, and the changes of it, each inside of a transaction. The only
//! place that reads and writes the tables of deployments.
//!
//! Every record carries a digest over itself, its table and its key. A number counts the changes of
//! the whole registry, so that a registry that has lost its end can be told.

use std::collections::HashSet;

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::error::DeployError;
use super::name::DeploymentName;
use super::sealed::{Reader, Writer};
use crate::digest::Digest;
use crate::storage::{Storage, StorageError};

/// Tenant and name; and with it the number of a version or a generation.
type Place = (&'static str, &'static str);
type Numbered = (&'static str, &'static str, u64);

/// Which versions a deployment has now.
const HEADS: TableDefinition<Place, &[u8]> = TableDefinition::new("control.deployments");
const VERSIONS: TableDefinition<Numbered, &[u8]> = TableDefinition::new("control.versions");
const HISTORY: TableDefinition<Numbered, &[u8]> = TableDefinition::new("control.history");
/// By the digest of a component: what was compiled of it.
const COMPILED: TableDefinition<&str, &[u8]> = TableDefinition::new("control.compiled");
/// How many changes there were.
const CHANGES: TableDefinition<&str, &[u8]> = TableDefinition::new("control.changes");
const CHANGES_KEY: &str = "changes";

/// Entries of a deployment's history that are kept.
const HISTORY_MAX: u64 = 100;

/// One version of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The generation that it came with; of two versions the later one has the larger number.
    pub number: u64,
    /// The digest of its component.
    pub artifact: Digest,
    /// Bytes of its component.
    pub bytes: u64,
    /// Its manifest as it was uploaded.
    pub manifest: String,
    /// When it was deployed, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Who deployed it, in the caller's words.
    pub by: String,
    /// The public key that signed it, in base64.
    pub signed_by: Option<String>,
}

/// What was done to a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new version became the current one.
    Deployed,
    /// The previous version became the current one again.
    RolledBack,
    /// The current version, which some had found, became everybody's.
    Promoted,
    /// All versions were removed.
    Deleted,
}

/// One line of a deployment's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The generation that began with it.
    pub generation: u64,
    /// What was done.
    pub change: Change,
    /// The version that is current since then; nothing after a deletion.
    pub version: Option<u64>,
    /// The digest of its component.
    pub artifact: Option<Digest>,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Who, in the caller's words.
    pub by: String,
}

/// Which versions a deployment has now. What was deleted keeps its generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) generation: u64,
    pub(super) current: Option<u64>,
    pub(super) previous: Option<u64>,
}

/// Whose deployment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Of<'a> {
    pub(super) tenant: &'a str,
    pub(super) name: &'a DeploymentName,
}

/// Who changes something, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Author<'a> {
    pub(super) by: &'a str,
    pub(super) at_unix_ms: u64,
}

/// What was compiled of a component: for which engine, and the digest of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CompiledRecord {
    pub(super) engine: Digest,
    pub(super) code: Digest,
}

impl<'a> Of<'a> {
    fn place(&self) -> (&'a str, &'a str) {
        (self.tenant, self.name.as_str())
    }

    fn numbered(&self, number: u64) -> (&'a str, &'a str, u64) {
        (self.tenant, self.name.as_str(), number)
    }

    fn key(&self) -> String {
        format!("{}/{}", self.tenant, self.name)
    }

    fn numbered_key(&self, number: u64) -> String {
        format!("{}/{}/{number}", self.tenant, self.name)
    }
}

fn db(error: impl Into<StorageError>) -> DeployError {
    error.into().into()
}

fn damaged(table: &str, key: &str) -> DeployError {
    DeployError::Damaged(format!(
        "the record {key} of {table} is damaged: put a copy of the registry in its place"
    ))
}

/// Reads what `sealed` holds, all of it.
fn unseal<T>(
    sealed: &[u8],
    table: &str,
    key: &str,
    fields: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Result<T, DeployError> {
    Reader::open(sealed, table, key)
        .and_then(|mut reader| fields(&mut reader))
        .ok_or_else(|| damaged(table, key))
}

impl Head {
    fn seal(&self, of: &Of<'_>) -> Vec<u8> {
        let writer = Writer::default().number(self.generation);
        let writer = writer.maybe(self.current).maybe(self.previous);
        writer.seal("deployments", &of.key())
    }

    fn unseal(sealed: &[u8], of: &Of<'_>) -> Result<Self, DeployError> {
        unseal(sealed, "deployments", &of.key(), |reader| {
            Some(Self {
                generation: reader.number()?,
                current: reader.maybe()?,
                previous: reader.maybe()?,
            })
        })
    }
}

impl Version {
    fn seal(&self, of: &Of<'_>) -> Vec<u8> {
        let writer = Writer::default().digest(&self.artifact).number(self.bytes);
        let writer = writer.bytes(self.manifest.as_bytes());
        let writer = writer.number(self.at_unix_ms).bytes(self.by.as_bytes());
        let signer = self.signed_by.as_deref().unwrap_or_default();
        let writer = writer.bytes(signer.as_bytes());
        writer.seal("versions", &of.numbered_key(self.number))
    }

    fn unseal(sealed: &[u8], of: &Of<'_>, number: u64) -> Result<Self, DeployError> {
        unseal(sealed, "versions", &of.numbered_key(number), |reader| {
            Some(Self {
                number,
                artifact: reader.digest()?,
                bytes: reader.number()?,
                manifest: reader.text()?,
                at_unix_ms: reader.number()?,
                by: reader.text()?,
                signed_by: Some(reader.text()?).filter(|signer| !signer.is_empty()),
            })
        })
    }
}

impl HistoryEntry {
    fn seal(&self, of: &Of<'_>) -> Vec<u8> {
        let change = match self.change {
            Change::Deployed => 1,
            Change::RolledBack => 2,
            Change::Deleted => 3,
            Change::Promoted => 4,
        };
        let writer = Writer::default().number(change).maybe(self.version);
        let artifact = self.artifact.map(|artifact| *artifact.as_bytes());
        let writer = writer.bytes(artifact.as_ref().map_or(&[], |bytes| bytes));
        let writer = writer.number(self.at_unix_ms).bytes(self.by.as_bytes());
        writer.seal("history", &of.numbered_key(self.generation))
    }

    fn unseal(sealed: &[u8], of: &Of<'_>, generation: u64) -> Result<Self, DeployError> {
        unseal(sealed, "history", &of.numbered_key(generation), |reader| {
            let change = match reader.number()? {
                1 => Change::Deployed,
                2 => Change::RolledBack,
                3 => Change::Deleted,
                4 => Change::Promoted,
                _ => return None,
            };
            Some(Self {
                generation,
                change,
                version: reader.maybe()?,
                artifact: match reader.bytes()? {
                    [] => None,
                    bytes => Some(Digest::from_bytes(bytes.try_into().ok()?)),
                },
                at_unix_ms: reader.number()?,
                by: reader.text()?,
            })
        })
    }
}

/// Makes the tables.
pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), DeployError> {
    transaction.open_table(HEADS).map_err(db)?;
    transaction.open_table(VERSIONS).map_err(db)?;
    transaction.open_table(HISTORY).map_err(db)?;
    transaction.open_table(COMPILED).map_err(db)?;
    transaction.open_table(CHANGES).map_err(db)?;
    Ok(())
}

/// A transaction that changes one deployment.
pub(super) struct Changing<'t> {
    heads: Table<'t, Place, &'static [u8]>,
    versions: Table<'t, Numbered, &'static [u8]>,
    history: Table<'t, Numbered, &'static [u8]>,
    changes: Table<'t, &'static str, &'static [u8]>,
}

impl<'t> Changing<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction) -> Result<Self, DeployError> {
        Ok(Self {
            heads: transaction.open_table(HEADS).map_err(db)?,
            versions: transaction.open_table(VERSIONS).map_err(db)?,
            history: transaction.open_table(HISTORY).map_err(db)?,
            changes: transaction.open_table(CHANGES).map_err(db)?,
        })
    }

    /// The deployment as it is.
    pub(super) fn head(&self, of: &Of<'_>) -> Result<Head, DeployError> {
        Ok(head(&self.heads, of)?.unwrap_or_default())
    }

    /// The deployment as it is, if it still has the generation that is expected of it.
    pub(super) fn expect(&self, of: &Of<'_>, expected: u64) -> Result<Head, DeployError> {
        let found = self.head(of)?;
        if found.generation != expected {
            let found = found.generation;
            return Err(DeployError::Conflict { expected, found });
        }
        Ok(found)
    }

    /// How many deployments a tenant has.
    pub(super) fn count(&self, tenant: &str) -> Result<u32, DeployError> {
        let mut count = 0;
        each_head(&self.heads, Some(tenant), |_, _, head| {
            count += u32::from(head?.current.is_some());
            Ok(())
        })?;
        Ok(count)
    }

    /// Writes a new version, and that it is the current one.
    pub(super) fn deploy(
        &mut self,
        of: &Of<'_>,
        old: &Head,
        version: &Version,
        versions_kept: u32,
    ) -> Result<Head, DeployError> {
        let place = of.numbered(version.number);
        let sealed = version.seal(of);
        self.versions.insert(place, &*sealed).map_err(db)?;
        let new = Head {
            generation: version.number,
            current: Some(version.number),
            previous: old.current,
        };
        let author = Author {
            by: &version.by,
            at_unix_ms: version.at_unix_ms,
        };
        self.turn(of, &new, Change::Deployed, Some(version.artifact), author)?;
        self.forget_old(of, &new, versions_kept)?;
        Ok(new)
    }

    /// Makes the previous version the current one, and the other way round.
    pub(super) fn roll_back(
        &mut self,
        of: &Of<'_>,
        old: &Head,
        author: Author<'_>,
    ) -> Result<Head, DeployError> {
        let previous = old.previous.ok_or(DeployError::NoPrevious)?;
        let new = Head {
            generation: old.generation + 1,
            current: Some(previous),
            previous: old.current,
        };
        let artifact = version(&self.versions, of, previous)?.artifact;
        self.turn(of, &new, Change::RolledBack, Some(artifact), author)?;
        Ok(new)
    }

    /// Notes that the current version is everybody's.
    pub(super) fn promote(
        &mut self,
        of: &Of<'_>,
        old: &Head,
        author: Author<'_>,
    ) -> Result<Head, DeployError> {
        let current = old.current.ok_or(DeployError::NotFound)?;
        let new = Head {
            generation: old.generation + 1,
            ..*old
        };
        let artifact = version(&self.versions, of, current)?.artifact;
        self.turn(of, &new, Change::Promoted, Some(artifact), author)?;
        Ok(new)
    }

    /// Removes all versions; the generation stays, so that none is given out twice.
    pub(super) fn delete(
        &mut self,
        of: &Of<'_>,
        old: &Head,
        author: Author<'_>,
    ) -> Result<Head, DeployError> {
        let new = Head {
            generation: old.generation + 1,
            ..Head::default()
        };
        self.turn(of, &new, Change::Deleted, None, author)?;
        self.forget_old(of, &new, 0)?;
        Ok(new)
    }

    /// Begins a generation.
    fn turn(
        &mut self,
        of: &Of<'_>,
        new: &Head,
        change: Change,
        artifact: Option<Digest>,
        author: Author<'_>,
    ) -> Result<(), DeployError> {
        let entry = HistoryEntry {
            generation: new.generation,
            change,
            version: new.current,
            artifact,
            at_unix_ms: author.at_unix_ms,
            by: author.by.to_owned(),
        };
        let place = of.numbered(new.generation);
        self.history.insert(place, &*entry.seal(of)).map_err(db)?;
        if let Some(oldest) = new.generation.checked_sub(HISTORY_MAX) {
            self.history.remove(of.numbered(oldest)).map_err(db)?;
        }
        self.heads.insert(of.place(), &*new.seal(of)).map_err(db)?;
        let changes = changes(&self.changes)? + 1;
        let sealed = Writer::default().number(changes);
        let sealed = sealed.seal("changes", CHANGES_KEY);
        self.changes.insert(CHANGES_KEY, &*sealed).map_err(db)?;
        Ok(())
    }

    /// Removes the records of versions beyond the newest, the current and the previous ones.
    fn forget_old(&mut self, of: &Of<'_>, head: &Head, kept: u32) -> Result<(), DeployError> {
        let mut numbers = Vec::new();
        each_version(&self.versions, of, |number, _| {
            numbers.push(number);
            Ok(())
        })?;
        let in_use = [head.current, head.previous];
        let (used, mut others): (Vec<u64>, Vec<u64>) = numbers
            .into_iter()
            .partition(|number| in_use.contains(&Some(*number)));
        let spare = (kept as usize).saturating_sub(used.len());
        others.truncate(others.len().saturating_sub(spare));
        for number in others {
            self.versions.remove(of.numbered(number)).map_err(db)?;
        }
        Ok(())
    }
}

/// Notes what was compiled of a component.
pub(super) fn note_compiled(
    storage: &Storage,
    source: &Digest,
    record: &CompiledRecord,
) -> Result<(), DeployError> {
    let key = source.to_string();
    let writer = Writer::default().digest(&record.engine);
    let sealed = writer.digest(&record.code).seal("compiled", &key);
    storage.write_blocking(|transaction| {
        let mut compiled = transaction.open_table(COMPILED).map_err(db)?;
        compiled.insert(&*key, &*sealed).map_err(db)?;
        Ok(())
    })
}

/// Forgets what was compiled of all components but these.
pub(super) fn forget_compiled(
    storage: &Storage,
    keep: &HashSet<Digest>,
) -> Result<(), DeployError> {
    let kept = |key: &str| key.parse().is_ok_and(|digest| keep.contains(&digest));
    storage.write_blocking(|transaction| {
        let mut compiled = transaction.open_table(COMPILED).map_err(db)?;
        compiled.retain(|key, _| kept(key)).map_err(db)
    })
}

/// The registry as it is now.
pub(super) struct View(ReadTransaction);

impl View {
    pub(super) fn new(storage: &Storage) -> Result<Self, DeployError> {
        Ok(Self(storage.read()?))
    }

    /// How often the registry has changed.
    pub(super) fn changes(&self) -> Result<u64, DeployError> {
        changes(&self.0.open_table(CHANGES).map_err(db)?)
    }

    pub(super) fn head(&self, of: &Of<'_>) -> Result<Option<Head>, DeployError> {
        head(&self.0.open_table(HEADS).map_err(db)?, of)
    }

    /// Shows the deployments of a tenant, or all of them, deleted and damaged ones too.
    pub(super) fn each_head(
        &self,
        tenant: Option<&str>,
        see: impl FnMut(&str, &DeploymentName, Result<Head, DeployError>) -> Result<(), DeployError>,
    ) -> Result<(), DeployError> {
        each_head(&self.0.open_table(HEADS).map_err(db)?, tenant, see)
    }

    pub(super) fn version(&self, of: &Of<'_>, number: u64) -> Result<Version, DeployError> {
        version(&self.0.open_table(VERSIONS).map_err(db)?, of, number)
    }

    /// All versions of a deployment that are kept, oldest first.
    pub(super) fn versions(&self, of: &Of<'_>) -> Result<Vec<Version>, DeployError> {
        let mut versions = Vec::new();
        let table = self.0.open_table(VERSIONS).map_err(db)?;
        each_version(&table, of, |number, sealed| {
            versions.push(Version::unseal(sealed, of, number)?);
            Ok(())
        })?;
        Ok(versions)
    }

    /// The last changes of a deployment, oldest first.
    pub(super) fn history(&self, of: &Of<'_>) -> Result<Vec<HistoryEntry>, DeployError> {
        let mut history = Vec::new();
        let table = self.0.open_table(HISTORY).map_err(db)?;
        each_version(&table, of, |number, sealed| {
            history.push(HistoryEntry::unseal(sealed, of, number)?);
            Ok(())
        })?;
        Ok(history)
    }

    pub(super) fn compiled(&self, source: &Digest) -> Result<Option<CompiledRecord>, DeployError> {
        let table = self.0.open_table(COMPILED).map_err(db)?;
        let key = source.to_string();
        let Some(found) = table.get(&*key).map_err(db)? else {
            return Ok(None);
        };
        let record = unseal(found.value(), "compiled", &key, |reader| {
            Some(CompiledRecord {
                engine: reader.digest()?,
                code: reader.digest()?,
            })
        });
        record.map(Some)
    }

    /// The components of all versions of all deployments.
    pub(super) fn artifacts(&self) -> Result<HashSet<Digest>, DeployError> {
        let table = self.0.open_table(VERSIONS).map_err(db)?;
        let mut artifacts = HashSet::new();
        for entry in table.iter().map_err(db)? {
            let (place, sealed) = entry.map_err(db)?;
            let (tenant, name, number) = place.value();
            let name = &name.parse()?;
            let of = Of { tenant, name };
            artifacts.insert(Version::unseal(sealed.value(), &of, number)?.artifact);
        }
        Ok(artifacts)
    }
}

fn changes(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<u64, DeployError> {
    match table.get(CHANGES_KEY).map_err(db)? {
        None => Ok(0),
        Some(sealed) => unseal(sealed.value(), "changes", CHANGES_KEY, |reader| {
            reader.number()
        }),
    }
}

fn head(
    table: &impl ReadableTable<Place, &'static [u8]>,
    of: &Of<'_>,
) -> Result<Option<Head>, DeployError> {
    let found = table.get(of.place()).map_err(db)?;
    let head = found.map(|sealed| Head::unseal(sealed.value(), of));
    head.transpose()
}

fn version(
    table: &impl ReadableTable<Numbered, &'static [u8]>,
    of: &Of<'_>,
    number: u64,
) -> Result<Version, DeployError> {
    let found = table.get(of.numbered(number)).map_err(db)?;
    let found = found.ok_or_else(|| damaged("versions", &of.numbered_key(number)))?;
    Version::unseal(found.value(), of, number)
}

fn each_head(
    table: &impl ReadableTable<Place, &'static [u8]>,
    tenant: Option<&str>,
    mut see: impl FnMut(&str, &DeploymentName, Result<Head, DeployError>) -> Result<(), DeployError>,
) -> Result<(), DeployError> {
    let from = tenant.unwrap_or_default();
    for entry in table.range::<(&str, &str)>((from, "")..).map_err(db)? {
        let (place, sealed) = entry.map_err(db)?;
        let (of_tenant, name) = place.value();
        if tenant.is_some_and(|tenant| tenant != of_tenant) {
            break;
        }
        let name = name.parse()?;
        let of = Of {
            tenant: of_tenant,
            name: &name,
        };
        see(of_tenant, &name, Head::unseal(sealed.value(), &of))?;
    }
    Ok(())
}

fn each_version(
    table: &impl ReadableTable<Numbered, &'static [u8]>,
    of: &Of<'_>,
    mut see: impl FnMut(u64, &[u8]) -> Result<(), DeployError>,
) -> Result<(), DeployError> {
    let range = of.numbered(0)..=of.numbered(u64::MAX);
    for entry in table.range::<(&str, &str, u64)>(range).map_err(db)? {
        let (place, sealed) = entry.map_err(db)?;
        see(place.value().2, sealed.value())?;
    }
    Ok(())
}
