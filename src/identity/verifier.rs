//! A tenant's keys, and the tokens that have been found good.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::jwk::{Jwk, JwkSet, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use quick_cache::sync::Cache;

use super::role::RolePath;
use super::{Claims, Error, Key, Registered, algorithm, bearer, decode};
use crate::config::Secret;
use crate::types::TenantId;

/// Tokens remembered per tenant. A token is checked in microseconds, so that more would hardly be worth their memory.
const REMEMBERED: usize = 256;

/// Checks the tokens of one tenant.
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    /// What `aud` must hold, and whether it must be there.
    audience: Option<(Box<str>, bool)>,
    role: RolePath,
    known: Cache<Box<str>, Arc<Known>>,
}

/// A key with what it is for.
struct VerifyingKey {
    key: DecodingKey,
    id: Option<String>,
    /// The one algorithm that it is for; any of its family if none.
    algorithm: Option<String>,
}

/// A token whose signature is good.
struct Known {
    claims: Claims,
    /// Its payload: its times are checked each time.
    payload: Box<str>,
}

impl Verifier {
    /// With the server's key, `aud` must hold
    /// the tenant's id; otherwise, if there is an `audience`, an `aud` must hold that.
    #[must_use]
    pub fn new(key: &Key, tenant: &TenantId, audience: Option<&str>, role: &str) -> Self {
        let asked = audience.map(|audience| (audience.into(), false));
        let (keys, audience) = match key {
            Key::None => (Vec::new(), None),
            Key::Server(secret) => (vec![VerifyingKey::secret(secret)], Some((tenant.as_str().into(), true))),
            Key::Tenant(secret) => (vec![VerifyingKey::secret(secret)], asked),
            Key::Jwks(set) => (keys(set.expose()), asked),
        };
        Self {
            keys,
            audience,
            role: RolePath::parse(role),
            known: Cache::new(REMEMBERED),
        }
    }

    /// Checks the value of an `Authorization` header; `now` is in seconds since 1970.
    ///
    /// `None` comes out when there is no header or its scheme is not `Bearer`: the request is anonymous then.
    ///
    /// # Errors
    ///
    /// Every [`Error`] except [`Error::Signing`].
    pub fn verify(&self, authorization: Option<&str>, now: u64) -> Result<Option<Claims>, Error> {
        let Some(token) = authorization.and_then(bearer) else {
            return Ok(None);
        };
        if self.keys.is_empty() {
            return Err(Error::NoKey);
        }
        let remembered = self.known.get(token);
        let is_new = remembered.is_none();
        let known = match remembered {
            Some(known) => known,
            None => {
                // Nothing of the payload is read before the signature holds.
                let payload = self.signed_payload(token)?;
                let registered = Registered::parse(&payload)?;
                let claims = Claims {
                    role: self.role.of(&payload, &registered)?,
                    json: payload.clone(),
                };
                Arc::new(Known { claims, payload })
            }
        };
        let registered = Registered::parse(&known.payload)?;
        registered.check_times(now)?;
        let holds = registered.audience_holds(self.audience.as_ref().map_or("", |(audience, _)| audience))?;
        if let Some((_, required)) = &self.audience
            && (*required || registered.has_audience())
            && !holds
        {
            return Err(Error::NotInAudience);
        }
        if is_new {
            self.known.insert(token.into(), Arc::clone(&known));
        }
        Ok(Some(known.claims.clone()))
    }

    /// The payload of `token`, once its signature is known to be one of the keys'.
    fn signed_payload(&self, token: &str) -> Result<Box<str>, Error> {
        if token.is_empty() {
            return Err(Error::Empty);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::Parts(token.split('.').count()));
        };
        let (algorithm, name, id) = algorithm(header)?;
        let message = &token[..header.len() + 1 + payload.len()];
        // A key is never used for an algorithm of another family: a public key as a secret would be no secret.
        let fitting = self.keys.iter().filter(|key| key.fits(algorithm, &name, id.as_deref()));
        let mut outcome = Err(Error::KeyType);
        for key in fitting {
            outcome = match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, algorithm) {
                Ok(true) => {
                    let payload: Box<serde_json::value::RawValue> = decode(payload).ok_or(Error::Claims)?;
                    return Ok(payload.get().into());
                }
                Ok(false) => Err(Error::Signature),
                Err(_) => Err(Error::Malformed),
            };
        }
        outcome
    }
}

impl VerifyingKey {
    fn secret(secret: &Secret) -> Self {
        Self {
            key: DecodingKey::from_secret(secret.expose()),
            id: None,
            algorithm: None,
        }
    }

    fn fits(&self, algorithm: Algorithm, name: &str, id: Option<&str>) -> bool {
        let same_id = match (&self.id, id) {
            (Some(own), Some(id)) => own == id,
            _ => true,
        };
        same_id && self.key.family() == algorithm.family() && self.algorithm.as_deref().is_none_or(|only| only == name)
    }
}

/// The keys of a JWK or a JWK Set that are for signatures; none for anything else, which is never a secret.
fn keys(secret: &[u8]) -> Vec<VerifyingKey> {
    let set = serde_json::from_slice::<JwkSet>(secret).map(|set| set.keys);
    let set = set.or_else(|_| serde_json::from_slice::<Jwk>(secret).map(|key| vec![key]));
    let Ok(set) = set else { return Vec::new() };
    let for_signatures = |key: &&Jwk| {
        let used = key.common.public_key_use.as_ref();
        let operations = key.common.key_operations.as_ref();
        used.is_none_or(|used| *used == PublicKeyUse::Signature)
            && operations.is_none_or(|operations| {
                operations.contains(&KeyOperations::Verify) || operations.contains(&KeyOperations::Sign)
            })
    };
    set.iter()
        .filter(for_signatures)
        .filter_map(|key| {
            Some(VerifyingKey {
                key: DecodingKey::from_jwk(key).ok()?,
                id: key.common.key_id.clone(),
                algorithm: key.common.key_algorithm.map(|algorithm| algorithm.to_string()),
            })
        })
        .collect()
}

impl fmt::Debug for Verifier {
    /// How many keys there are; never a key or a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}
