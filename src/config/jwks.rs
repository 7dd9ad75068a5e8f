//! The keys of a JWK or a JWK Set (RFC 7517).

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, KeyOperations, PublicKeyUse};
use thiserror::Error;

use super::secret::MIN_SECRET_LEN;

/// Keys that tokens can be checked with; at least one. `Debug` shows none.
///
/// Two are equal if they hold equal keys in the same order, however they were written.
#[derive(Clone, Eq, PartialEq)]
pub struct Jwks {
    keys: Arc<[VerifyingKey]>,
    holds_secret: bool,
}

/// A JWK that is for signatures, and what it is as a key.
struct VerifyingKey {
    jwk: Jwk,
    key: DecodingKey,
}

/// Why a text holds no keys for tokens. The message says what the text does: "holds no JWK …".
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum JwksError {
    /// It is neither a JWK nor a JWK Set.
    #[error("holds no JWK: write {{\"keys\": […]}} or one key as JSON (RFC 7517)")]
    NoJwk,
    /// None of its keys is for signatures and of a kind that is known. One that cannot be read spoils its set, because which
    /// of them was meant cannot be known.
    #[error("holds no key that tokens can be checked with: write one of kty RSA, EC, OKP or oct")]
    NoUse,
    /// A secret, of so many bytes, is shorter than the hash that it is for.
    #[error("holds a secret of {0} bytes: HS256 needs {MIN_SECRET_LEN} or more")]
    ShortSecret(usize),
}

impl Jwks {
    /// Reads a JWK or a JWK Set. Keys for other uses and of kinds that are not known are left out (RFC 7517, section 5).
    ///
    /// # Errors
    ///
    /// Every [`JwksError`]. A text that is no JWK is never taken for a secret.
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        let set = serde_json::from_slice::<JwkSet>(text).map(|set| set.keys);
        let set = set.or_else(|_| serde_json::from_slice::<Jwk>(text).map(|key| vec![key]));
        let set = set.map_err(|_| JwksError::NoJwk)?;
        let secrets: Vec<usize> = set.iter().filter_map(secret_len).collect();
        let keys: Arc<[VerifyingKey]> = set.into_iter().filter_map(VerifyingKey::new).collect();
        if keys.is_empty() {
            return Err(JwksError::NoUse);
        }
        if let Some(len) = secrets.iter().find(|len| **len < MIN_SECRET_LEN) {
            return Err(JwksError::ShortSecret(*len));
        }
        Ok(Self {
            keys,
            holds_secret: !secrets.is_empty(),
        })
    }

    /// Whether any key of the text, even one that tokens are not checked with, is a secret.
    #[must_use]
    pub fn holds_secret(&self) -> bool {
        self.holds_secret
    }

    /// Each key as it was written and as one to check signatures with, in their order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&Jwk, &DecodingKey)> {
        self.keys.iter().map(|VerifyingKey { jwk, key }| (jwk, key))
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwks({} keys)", self.keys.len())
    }
}

impl VerifyingKey {
    fn new(jwk: Jwk) -> Option<Self> {
        if !is_for_signatures(&jwk) {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { jwk, key })
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.jwk == other.jwk // the key is made of it
    }
}

impl Eq for VerifyingKey {}

/// Whether a key is for signatures, as far as it says (RFC 7517, sections 4.2 and 4.3).
fn is_for_signatures(key: &Jwk) -> bool {
    let used = key.common.public_key_use.as_ref();
    let operations = key.common.key_operations.as_ref();
    used.is_none_or(|used| *used == PublicKeyUse::Signature)
        && operations.is_none_or(|operations| {
            operations.contains(&KeyOperations::Verify) || operations.contains(&KeyOperations::Sign)
        })
}

/// How many bytes a key holds that is a secret.
fn secret_len(key: &Jwk) -> Option<usize> {
    match &key.algorithm {
        AlgorithmParameters::OctetKey(octets) => Some(octets.value.len() * 3 / 4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const SECRET: &str = r#"{"kty":"oct","k":"cmVhbGx5cmVhbGx5cmVhbGx5cmVhbGx5dmVyeXNhZmU"}"#;

    #[test]
    fn a_malformed_set_is_no_key() {
        for text in [
            "",
            "null",
            "[]",
            "{",
            "\"keys\"",
            "reallyreallyreallyreallyverysafe",
            "cmVhbGx5cmVhbGx5cmVhbGx5cmVhbGx5dmVyeXNhZmU",
            "-----BEGIN PUBLIC KEY-----\n",
            &format!("[{EC}]"),
            &format!("{EC}{EC}"),
            &format!(r#"{{"keys":[{EC}]"#),
        ] {
            assert_eq!(Jwks::parse(text.as_bytes()), Err(JwksError::NoJwk), "{text}");
        }
        for text in [
            "{}",
            r#"{"keys":[]}"#,
            r#"{"keys":{}}"#,
            r#"{"keys":null}"#,
            r#"{"keys":[{}]}"#,
            r#"{"keys":"cmVhbGx5cmVhbGx5cmVhbGx5cmVhbGx5dmVyeXNhZmU"}"#,
            r#"{"kty":"oct"}"#,
            r#"{"kty":"oct","k":"no base64!"}"#,
            r#"{"kty":"oct","K":"cmVhbGx5cmVhbGx5cmVhbGx5cmVhbGx5dmVyeXNhZmU"}"#,
            r#"{"kty":"RSA","n":"AQAB"}"#,
            r#"{"kty":"RSA","n":"?","e":"AQAB"}"#,
            r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#,
            r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}"#,
            // One key that cannot be read spoils the set: which of them was meant cannot be known.
            &format!(r#"{{"keys":[{EC},{{"kty":"EC","kid":1}}]}}"#),
            &format!(r#"{{"keys":[{EC},"x"]}}"#),
        ] {
            assert_eq!(Jwks::parse(text.as_bytes()), Err(JwksError::NoUse), "{text}");
        }
    }

    #[test]
    fn what_is_of_no_use_is_left_out() {
        let others = r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"},{"kty":"RSA","n":"AQAB","e":"AQAB","use":"enc"}"#;
        let set = Jwks::parse(format!(r#"{{"keys":[{others},{EC}]}}"#).as_bytes()).unwrap();
        assert_eq!(set, Jwks::parse(EC.as_bytes()).unwrap());
        assert_eq!(set.keys().count(), 1);
        assert!(!set.holds_secret());
    }

    #[test]
    fn secrets_are_long_known_and_never_printed() {
        let short = r#"{"kty":"oct","k":"aHVudGVyMg"}"#;
        let both = |secret| Jwks::parse(format!(r#"{{"keys":[{EC},{secret}]}}"#).as_bytes());
        assert_eq!(both(short), Err(JwksError::ShortSecret(7)));
        let set = both(SECRET).unwrap();
        assert!(set.holds_secret());
        assert_eq!(format!("{set:?}"), "Jwks(2 keys)");
        // It is one, whatever it is for.
        let for_encryption = SECRET.replace("}", r#","use":"enc"}"#);
        assert!(both(&for_encryption).unwrap().holds_secret());
    }
}
