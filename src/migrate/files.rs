//! The SQL files of the migrations.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, Digest, SHA256};
use refinery::Migration;

use super::{Error, login_role};
use crate::config::{AnonymousAccess, Shared, SharedWrite, Tenant};
use crate::pool::Credentials;

/// What this version of the program makes around the tables: roles, grants, history. To be raised when that changes;
/// then every tenant is brought to its state anew.
const LAYOUT_VERSION: u32 = 3;

/// All migrations, read and checked. Cheap to share behind an `Arc`, not to clone.
#[derive(Debug, Default)]
pub struct Migrations {
    pub(super) shared: Option<Set>,
    pub(super) tenant: Option<Set>,
}

impl Migrations {
    /// Reads the files `V<number>__<words>.sql` of both directories; other endings and sub-directories are skipped.
    /// `None` means none. Blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Name`] and [`Error::RepeatedVersion`].
    pub fn load(shared_dir: Option<&Path>, tenant_dir: Option<&Path>) -> Result<Self, Error> {
        Ok(Self {
            shared: shared_dir.map(Set::load).transpose()?,
            tenant: tenant_dir.map(Set::load).transpose()?,
        })
    }

    /// How many there are for each tenant.
    #[must_use]
    pub fn of_tenants(&self) -> u64 {
        self.tenant.as_ref().map_or(0, |set| set.migrations.len() as u64)
    }

    /// What the state of a tenant depends on, as 64 hexadecimal digits: equal digests, equal states.
    #[must_use]
    pub fn digest(&self, tenant: &Tenant, shared: &Shared, credentials: &Credentials) -> String {
        let mut text = Text::new("tenant");
        text.add(tenant.id.as_str());
        text.add(tenant.schema.as_str());
        text.add(match tenant.limits.anonymous {
            AnonymousAccess::None => "none",
            AnonymousAccess::Read => "read",
            AnonymousAccess::Write => "write",
        });
        text.add(if tenant.is_operator() { "operator" } else { "own" });
        text.add_shared(shared);
        text.add_set(self.tenant.as_ref());
        if let Credentials::PerTenant(passwords) = credentials {
            text.add("per tenant");
            if let Some(password) = passwords.of(&login_role(&tenant.id)) {
                text.0.update(password.expose());
            }
        }
        text.finish()
    }

    /// The same for the shared schema.
    pub(super) fn shared_digest(&self, shared: &Shared) -> String {
        let mut text = Text::new("shared");
        text.add_shared(shared);
        text.add_set(self.shared.as_ref());
        text.finish()
    }
}

/// The migrations of one directory, in the order of their versions.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) dir: PathBuf,
    pub(super) migrations: Vec<Migration>,
    /// The files, in the same order.
    files: Vec<PathBuf>,
    digest: Digest,
}

impl Set {
    fn load(dir: &Path) -> Result<Self, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).map_err(unreadable(dir))? {
            let path = entry.map_err(unreadable(dir))?.path();
            if path.extension().is_some_and(|ending| ending == "sql") {
                found.push((read(&path)?, path));
            }
        }
        found.sort_by_key(|(migration, _)| migration.version());
        let same = found.windows(2).find(|pair| pair[0].0.version() == pair[1].0.version());
        if let Some([(_, first), (_, second)]) = same {
            return Err(Error::RepeatedVersion {
                first: first.clone(),
                second: second.clone(),
            });
        }
        let mut text = Text::new("files");
        for (migration, _) in &found {
            text.add(&migration.to_string());
            text.add(migration.sql().unwrap_or_default());
        }
        let (migrations, files) = found.into_iter().unzip();
        Ok(Self {
            dir: dir.to_owned(),
            migrations,
            files,
            digest: text.0.finish(),
        })
    }

    /// The file of the migration that refinery calls `name`.
    pub(super) fn file(&self, name: &str) -> Option<&Path> {
        let index = self
            .migrations
            .iter()
            .position(|migration| migration.to_string() == name)?;
        self.files.get(index).map(PathBuf::as_path)
    }
}

/// By itself, not by `refinery::load_sql_migrations`, which skips a misnamed file and does not tell which one is bad.
fn read(path: &Path) -> Result<Migration, Error> {
    let misnamed = || Error::Name { path: path.to_owned() };
    let stem = path.file_stem().and_then(|stem| stem.to_str()).ok_or_else(misnamed)?;
    // refinery looks at the beginning alone, and its `U` runs in no certain order.
    if !stem.starts_with('V') || !stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(misnamed());
    }
    let sql = fs::read_to_string(path).map_err(unreadable(path))?;
    Migration::unapplied(stem, &sql).map_err(|_| misnamed())
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Read {
        path: path.to_owned(),
        source,
    }
}

/// A SHA-256 over parts that cannot run into each other, because each has its length before it.
struct Text(Context);

impl Text {
    fn new(kind: &str) -> Self {
        let mut text = Self(Context::new(&SHA256));
        text.add(kind);
        text.0.update(&LAYOUT_VERSION.to_be_bytes());
        text
    }

    fn add(&mut self, part: &str) {
        self.0.update(&part.len().to_be_bytes());
        self.0.update(part.as_bytes());
    }

    fn add_shared(&mut self, shared: &Shared) {
        self.add(shared.schema.as_str());
        self.add(match shared.write {
            SharedWrite::Operator => "operator",
            SharedWrite::Tenants => "tenants",
        });
    }

    fn add_set(&mut self, set: Option<&Set>) {
        self.0.update(set.map_or(&[], |set| set.digest.as_ref()));
    }

    fn finish(self) -> String {
        let digest = self.0.finish();
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
