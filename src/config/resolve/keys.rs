//! The keys that tokens are checked with: secrets, from wherever they are, and JWK Sets.

use std::path::PathBuf;

use super::{Surroundings, only_one};
use crate::config::field::{Field, Report};
use crate::config::secret::MIN_SECRET_LEN;
use crate::config::value::Variable;
use crate::config::{Jwks, Secret, read};

/// The longest secret file in bytes: far more than any key, little enough to read a wrong file without harm.
const MAX_SECRET_FILE_LEN: u64 = 64 << 10;

/// The ways to name a tenant's own keys, at most one of which may be used.
pub(super) struct TokenKeys {
    pub(super) jwks_file: Field<PathBuf>,
    pub(super) jwks: Field<Secret>,
    pub(super) jwt_secret: WrittenSecret,
    pub(super) jwt_secret_base64: Field<bool>,
}

impl TokenKeys {
    pub(super) fn resolve(self, around: &Surroundings<'_>, report: &mut Report<'_>) -> (Option<Jwks>, Option<Secret>) {
        let Self {
            jwks_file,
            jwks,
            jwt_secret,
            jwt_secret_base64,
        } = self;
        let (env_offset, file_offset) = (jwt_secret.jwt_secret_env.offset(), jwt_secret.jwt_secret_file.offset());
        only_one(
            [
                ("jwks_file", jwks_file.offset()),
                ("jwks", jwks.offset()),
                ("jwt_secret_env", env_offset),
                ("jwt_secret_file", file_offset),
                ("jwt_secret", jwt_secret.jwt_secret.offset()),
            ],
            report,
        );
        let jwks = read_jwks(jwks_file, around, report).or_else(|| written_jwks(jwks, report));
        if let (Some(offset), None, None) = (jwt_secret_base64.offset(), env_offset, file_offset) {
            report.error(
                offset,
                "`jwt_secret_base64` belongs to jwt_secret_env or jwt_secret_file: remove it, or use one of them",
            );
        }
        let base64 = jwt_secret_base64.or(false, report);
        (jwks, jwt_secret.resolve(base64, around, report))
    }
}

/// The three ways to name a key for HMAC, at most one of which may be used.
pub(super) struct WrittenSecret {
    pub(super) jwt_secret_env: Field<Variable>,
    pub(super) jwt_secret_file: Field<PathBuf>,
    pub(super) jwt_secret: Field<Secret>,
}

impl WrittenSecret {
    /// With `base64` what stands in the environment or the file is decoded first.
    pub(super) fn resolve(self, base64: bool, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Secret> {
        let decoded = |text: &[u8], offset: usize, report: &mut Report<'_>| {
            if !base64 {
                return Some(Secret::new(text));
            }
            let bytes = decode_base64(text);
            if bytes.is_none() {
                report.error(offset, "the key is no base64: correct it, or remove jwt_secret_base64");
            }
            bytes.map(Secret::new)
        };
        let offsets = [
            self.jwt_secret_env.offset(),
            self.jwt_secret_file.offset(),
            self.jwt_secret.offset(),
        ];
        let [env_offset, file_offset, text_offset] = offsets;
        only_one(
            [
                ("jwt_secret_env", env_offset),
                ("jwt_secret_file", file_offset),
                ("jwt_secret", text_offset),
            ],
            report,
        );
        let mut secret = None;
        if let (Some(Variable(name)), Some(offset)) = (self.jwt_secret_env.get(report), env_offset) {
            match (around.env)(&name) {
                Some(value) => {
                    secret = decoded(value.as_bytes(), offset, report).and_then(|key| long_enough(key, offset, report));
                }
                None => report.error(
                    offset,
                    format!("environment variable {name} is not set: set it, or use jwt_secret_file"),
                ),
            }
        }
        if let (Some(path), Some(offset)) = (self.jwt_secret_file.get(report), file_offset) {
            let path = around.root.join(path);
            match read::regular_file(&path, MAX_SECRET_FILE_LEN) {
                Ok(file) => {
                    if file.world_readable {
                        let path = path.display();
                        report.warning(
                            offset,
                            format!("everybody on this machine may read {path}: run chmod 640 on it"),
                        );
                    }
                    let key = file.bytes.strip_suffix(b"\n").unwrap_or(&file.bytes);
                    let key = key.strip_suffix(b"\r").unwrap_or(key);
                    secret = decoded(key, offset, report).and_then(|key| long_enough(key, offset, report));
                }
                Err(message) => {
                    let path = path.display();
                    report.error(
                        offset,
                        format!("secret file {path} {message}: correct the path or its permissions"),
                    );
                }
            }
        }
        if let (Some(text), Some(offset)) = (self.jwt_secret.get(report), text_offset) {
            if report.source.world_readable {
                report.error(
                    offset,
                    "a secret stands in a file that everybody on this machine may read: run chmod 640 on the file, or use \
                     jwt_secret_file",
                );
            }
            secret = long_enough(text, offset, report);
        }
        secret
    }
}

/// Base64 in either alphabet, with padding or without (RFC 4648).
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut held) = (0_u32, 0);
    for &byte in text.trim_ascii().iter().take_while(|&&byte| byte != b'=') {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// The JWK or JWK Set in a file. Who may read a secret in it is looked at as well.
fn read_jwks(written: Field<PathBuf>, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Jwks> {
    let offset = written.offset()?;
    let path = around.root.join(written.get(report)?);
    let shown = path.display();
    let file = read::regular_file(&path, MAX_SECRET_FILE_LEN).map_err(|message| {
        report.error(
            offset,
            format!("key file {shown} {message}: correct the path or its permissions"),
        );
    });
    let file = file.ok()?;
    let jwks = Jwks::parse(&file.bytes).map_err(|error| report.error(offset, format!("key file {shown} {error}")));
    let jwks = jwks.ok()?;
    if file.world_readable && jwks.holds_secret() {
        report.error(
            offset,
            format!("everybody on this machine may read the secret in {shown}: run chmod 640 on it"),
        );
        return None;
    }
    Some(jwks)
}

/// The JWK or JWK Set that is written out.
fn written_jwks(written: Field<Secret>, report: &mut Report<'_>) -> Option<Jwks> {
    let offset = written.offset()?;
    let text = written.get(report)?;
    let jwks = Jwks::parse(text.expose()).map_err(|error| report.error(offset, format!("the text {error}")));
    let jwks = jwks.ok()?;
    if report.source.world_readable && jwks.holds_secret() {
        report.error(
            offset,
            "a secret stands in a file that everybody on this machine may read: run chmod 640 on the file, or use jwks_file",
        );
        return None;
    }
    Some(jwks)
}

fn long_enough(secret: Secret, offset: usize, report: &mut Report<'_>) -> Option<Secret> {
    // A public key that is taken for a secret lets everybody sign who has it.
    let text = secret.expose().trim_ascii();
    let is_json = |key: &str| {
        let json: Option<serde_json::Value> = serde_json::from_slice(text).ok();
        json.is_some_and(|json| json.get(key).is_some())
    };
    if text.starts_with(b"-----BEGIN") || is_json("kty") || is_json("keys") {
        report.error(
            offset,
            "this is a key of its own kind and no secret: write a JWK or JWK Set as jwks, or put it into a file and write jwks_file",
        );
        return None;
    }
    let len = secret.expose().len();
    if len >= MIN_SECRET_LEN {
        return Some(secret);
    }
    report.error(
        offset,
        format!("the key has {len} bytes: HS256 needs {MIN_SECRET_LEN} or more, such as `openssl rand -hex 32` prints"),
    );
    None
}
