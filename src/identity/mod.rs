//! Who makes a request: a bearer JWT, checked against the key of the tenant or of the server.
//!
//! Pure but for what it remembers: the time comes in as an argument. A key is used for algorithms of its own family only,
//! because a public key taken for a secret is the classic confusion of key types; and `none` is no signature at all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::config::{Jwks, Secret};
use crate::types::TenantId;

mod error;
mod verifier;

pub use self::error::Error;
pub use self::verifier::Verifier;

/// The key that tokens for one tenant are checked against.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Key {
    /// The tenant's own: whoever signs with it speaks for this tenant alone, so `aud` may be anything.
    Tenant(Secret),
    /// The tenant's own, each for what it says it is: `aud` may be anything.
    Jwks(Jwks),
    /// The whole server's: `aud` must hold the tenant's id, or a token for one tenant would open every other.
    Server(Secret),
    /// No key: every token is refused.
    None,
}

/// What a valid token says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claims {
    /// The role that it names, if it names one.
    pub role: Option<Arc<str>>,
    /// The payload as it was signed, a JSON object, for `request.jwt.claims`. Nothing is written anew, so that numbers
    /// keep all their digits.
    pub json: Arc<str>,
    /// The claim `role` of the payload, which need not be where the role was looked for.
    stated: Option<Arc<str>>,
}

impl Claims {
    /// What a token of a user of the console would say: for who is signed in without one. It has no `sub`, as that is whom the
    /// tenant's own policies know.
    #[must_use]
    pub fn of_user(role: &str, tenant: &TenantId, user: &str) -> Self {
        let json = serde_json::json!({ "role": role, "aud": tenant.as_str(), "console_user": user });
        let role: Arc<str> = role.into();
        Self {
            role: Some(Arc::clone(&role)),
            json: json.to_string().into(),
            stated: Some(role),
        }
    }

    /// The payload with this role in it, if it says none at the usual place: what SQL reads then says who acts.
    #[must_use]
    pub fn with_role(&self, role: &str) -> Cow<'_, str> {
        if self.stated.as_deref() == Some(role) {
            return Cow::Borrowed(&self.json);
        }
        // Names are read, not borrowed: one with an escape in it cannot be.
        let claims: Result<BTreeMap<String, &RawValue>, _> = serde_json::from_str(&self.json);
        let (Ok(mut claims), Ok(role)) = (claims, serde_json::value::to_raw_value(role)) else {
            return Cow::Borrowed(&self.json);
        };
        claims.insert("role".to_owned(), &role);
        serde_json::to_string(&claims).map_or(Cow::Borrowed(&self.json), Cow::Owned)
    }
}

/// When a token is good, in seconds since 1970. RFC 7519 allows fractions of them.
#[derive(Clone, Copy, Debug)]
struct Times {
    expires: Option<f64>,
    not_before: Option<f64>,
    issued: Option<f64>,
}

impl Times {
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
    fn check(self, now: u64) -> Result<(), Error> {
        let now = now as f64;
        if self.expires.is_some_and(|expires| now > expires + LEEWAY_SECS) {
            return Err(Error::Expired);
        }
        if self.not_before.is_some_and(|not_before| now < not_before - LEEWAY_SECS) {
            return Err(Error::NotYetValid);
        }
        if self.issued.is_some_and(|issued| now < issued - LEEWAY_SECS) {
            return Err(Error::IssuedInFuture);
        }
        Ok(())
    }
}

/// A token (HS256) that lets its bearer act as `role` in `tenant` for `ttl` from `now`, in seconds since 1970.
///
/// # Errors
///
/// [`Error::NoKey`] without a key, [`Error::Signing`].
pub fn sign(key: &Key, tenant: &TenantId, role: &str, ttl: Duration, now: u64) -> Result<String, Error> {
    #[derive(Serialize)]
    struct NewClaims<'a> {
        role: &'a str,
        aud: &'a str,
        iat: u64,
        exp: u64,
    }

    let (Key::Tenant(secret) | Key::Server(secret)) = key else {
        return Err(Error::NoKey); // a JWK that verifies need not be one that signs
    };
    let claims = NewClaims {
        role,
        aud: tenant.as_str(),
        iat: now,
        exp: now.saturating_add(ttl.as_secs()),
    };
    let key = EncodingKey::from_secret(secret.expose());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|_| Error::Signing)
}

/// The token in `Bearer TOKEN`; empty for a bare `Bearer`.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once([' ', '\t']).unwrap_or((authorization, ""));
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches([' ', '\t']))
}

/// The algorithm that the header of a token names, its name there, and the key's id if there is one.
fn algorithm(header: &str) -> Result<(Algorithm, String, Option<String>), Error> {
    /// Not the library's `Header`, which cannot tell `none` from a header that is no JSON.
    #[derive(Deserialize)]
    struct TokenHeader {
        alg: String,
        kid: Option<String>,
        crit: Option<IgnoredAny>,
    }

    let header: TokenHeader = decode(header).ok_or(Error::Malformed)?;
    // RFC 7515, section 4.1.11: an extension that is not understood makes the token invalid, and none is.
    if header.crit.is_some() {
        return Err(Error::Malformed);
    }
    if header.alg == "none" {
        return Err(Error::Unsecured);
    }
    let algorithm = header.alg.parse().map_err(|_| Error::KeyType)?;
    Ok((algorithm, header.alg, header.kid))
}

/// Reads one part of a token: base64url of JSON.
fn decode<T: DeserializeOwned>(part: &str) -> Option<T> {
    // The library decodes a part by itself only as the middle of a token, and calls that dangerous because it checks no
    // signature: `signed_payload` does, and reads nothing but `alg` and `crit` before.
    insecure_decode_claims(format!(".{part}.")).ok()
}

/// The claims that are checked here. `null` counts as absent.
#[derive(Deserialize)]
struct Registered<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    exp: Option<&'a RawValue>,
    #[serde(borrow)]
    nbf: Option<&'a RawValue>,
    #[serde(borrow)]
    iat: Option<&'a RawValue>,
    #[serde(borrow)]
    aud: Option<&'a RawValue>,
}

impl<'a> Registered<'a> {
    fn parse(json: &'a str) -> Result<Self, Error> {
        // serde would take an array for a struct, field by field.
        if !json.starts_with('{') {
            return Err(Error::Claims);
        }
        serde_json::from_str(json).map_err(|_| Error::Claims)
    }

    fn times(&self) -> Result<Times, Error> {
        Ok(Times {
            expires: number("exp", self.exp)?,
            not_before: number("nbf", self.nbf)?,
            issued: number("iat", self.iat)?,
        })
    }

    /// The claim `role`, which must be a text.
    fn role(&self) -> Result<Option<Arc<str>>, Error> {
        let role = self.role.map(|role| serde_json::from_str::<Cow<'_, str>>(role.get()));
        Ok(role.transpose().map_err(|_| Error::Claims)?.map(Arc::from))
    }

    /// An empty list is none.
    fn has_audience(&self) -> bool {
        self.aud
            .is_some_and(|aud| serde_json::from_str(aud.get()).ok() != Some(serde_json::json!([])))
    }

    fn audience_holds(&self, wanted: &str) -> Result<bool, Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Audience {
            One(String),
            Many(Vec<String>),
        }

        let Some(aud) = self.aud else {
            return Ok(false);
        };
        match serde_json::from_str(aud.get()).map_err(|_| Error::AudienceType)? {
            Audience::One(one) => Ok(one == wanted),
            Audience::Many(many) => Ok(many.iter().any(|one| one == wanted)),
        }
    }
}

fn number(name: &'static str, claim: Option<&RawValue>) -> Result<Option<f64>, Error> {
    claim
        .map(|claim| serde_json::from_str(claim.get()).map_err(|_| Error::NotNumber(name)))
        .transpose()
}

/// How far the clocks of issuer and server may differ; PostgREST's value.
const LEEWAY_SECS: f64 = 30.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a verifier that has seen nothing yet.
    fn verify(authorization: Option<&str>, key: &Key, tenant: &TenantId, now: u64) -> Result<Option<Claims>, Error> {
        Verifier::new(key, tenant, None, &"$.role".parse().unwrap()).verify(authorization, now)
    }

    const NOW: u64 = 1_800_000_000;
    const SECRET: &[u8] = b"reallyreallyreallyreallyverysafe";

    fn own() -> Key {
        Key::Tenant(Secret::new(SECRET))
    }

    fn server() -> Key {
        Key::Server(Secret::new(SECRET))
    }

    fn acme() -> TenantId {
        "acme".parse().unwrap()
    }

    fn base64url(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits =
                chunk.iter().fold(0_usize, |bits, &byte| bits << 8 | usize::from(byte)) << (8 * (3 - chunk.len()));
            for digit in 0..=chunk.len() {
                text.push(char::from(DIGITS[bits >> (18 - 6 * digit) & 63]));
            }
        }
        text
    }

    /// A header value whose signature is right for `algorithm`, whatever its header says.
    fn token(header: &str, payload: &str, algorithm: Algorithm) -> String {
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
        let key = EncodingKey::from_secret(SECRET);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
        format!("Bearer {message}.{signature}")
    }

    fn payload(payload: &str, key: &Key) -> Result<Claims, Error> {
        let token = token(r#"{"alg":"HS256"}"#, payload, Algorithm::HS256);
        verify(Some(&token), key, &acme(), NOW).map(Option::unwrap)
    }

    fn refusal(authorization: &str) -> Error {
        verify(Some(authorization), &own(), &acme(), NOW).unwrap_err()
    }

    #[test]
    fn without_a_bearer_token_a_request_is_anonymous() {
        for authorization in [
            None,
            Some(""),
            Some("Basic YTpi"),
            Some("Bearerx y"),
            Some("Token x.y.z"),
        ] {
            assert_eq!(
                verify(authorization, &own(), &acme(), NOW),
                Ok(None),
                "{authorization:?}"
            );
            assert_eq!(
                verify(authorization, &Key::None, &acme(), NOW),
                Ok(None),
                "{authorization:?}"
            );
        }
    }

    #[test]
    fn what_is_signed_verifies() {
        for key in [own(), server()] {
            let token = sign(&key, &acme(), "clerk", Duration::from_secs(60), NOW).unwrap();
            for scheme in ["Bearer", "bearer", "BEARER", "Bearer  "] {
                let claims = verify(Some(&format!("{scheme} {token}")), &key, &acme(), NOW)
                    .unwrap()
                    .unwrap();
                assert_eq!(claims.role.as_deref(), Some("clerk"));
                let expected = r#"{"role":"clerk","aud":"acme","iat":1800000000,"exp":1800000060}"#;
                assert_eq!(&*claims.json, expected);
            }
        }
        assert_eq!(
            sign(&Key::None, &acme(), "clerk", Duration::ZERO, NOW),
            Err(Error::NoKey)
        );
    }

    #[test]
    fn all_hmac_algorithms_verify_and_the_payload_stays_as_signed() {
        let json = r#"{"id":12345678901234567890123, "a":"\u00e9"}"#;
        for (header, algorithm) in [
            (r#"{"alg":"HS256"}"#, Algorithm::HS256),
            (r#"{"alg":"HS384"}"#, Algorithm::HS384),
            (r#"{"alg":"HS512","typ":"JWT"}"#, Algorithm::HS512),
        ] {
            let claims = verify(Some(&token(header, json, algorithm)), &own(), &acme(), NOW);
            let claims = claims.unwrap().unwrap();
            assert_eq!((claims.role, &*claims.json), (None, json));
        }
    }

    /// Also where a name of the payload is written with an escape.
    #[test]
    fn the_role_that_acts_is_in_the_claims() {
        for (json, expected) in [
            (r#"{"a":1}"#, r#"{"a":1,"role":"web"}"#),
            (r#"{"role":"web", "a":1}"#, r#"{"role":"web", "a":1}"#),
            (r#"{"\u00e9":1.10,"role":"boss"}"#, r#"{"role":"web","é":1.10}"#),
        ] {
            let claims = payload(json, &own()).unwrap();
            assert_eq!(claims.with_role("web"), expected);
        }
    }

    #[test]
    fn forged_tokens_are_refused() {
        let other = Key::Tenant(Secret::new(*b"another secret, also of 32 bytes"));
        let token_of_other = sign(&other, &acme(), "clerk", Duration::from_secs(60), NOW).unwrap();
        assert_eq!(refusal(&format!("Bearer {token_of_other}")), Error::Signature);
        for alg in ["RS256", "ES256", "PS512", "EdDSA", "hs256", "None", ""] {
            let forged = token(&format!(r#"{{"alg":"{alg}"}}"#), "{}", Algorithm::HS256);
            assert_eq!(refusal(&forged), Error::KeyType, "{alg}");
        }
        // The right secret, but another algorithm than the header says.
        assert_eq!(
            refusal(&token(r#"{"alg":"HS512"}"#, "{}", Algorithm::HS256)),
            Error::Signature
        );
        assert_eq!(
            refusal(&token(r#"{"alg":"none"}"#, "{}", Algorithm::HS256)),
            Error::Unsecured
        );
        assert_eq!(refusal("Bearer eyJhbGciOiJub25lIn0.e30."), Error::Unsecured);
        assert_eq!(refusal("Bearer eyJhbGciOiJIUzI1NiJ9.e30."), Error::Signature);
        let critical = token(r#"{"alg":"HS256","crit":["b64"]}"#, "{}", Algorithm::HS256);
        assert_eq!(refusal(&critical), Error::Malformed);
    }

    #[test]
    fn broken_tokens_are_refused_in_the_words_of_the_dialect() {
        assert_eq!(refusal("Bearer"), Error::Empty);
        assert_eq!(refusal("Bearer  "), Error::Empty);
        assert_eq!(refusal("Bearer a.b"), Error::Parts(2));
        assert_eq!(refusal("Bearer a.b.c.d.e"), Error::Parts(5));
        assert_eq!(
            refusal("Bearer quifquirndsjagnrgniur.fonvoienqhhdj.iuqvnvhojah"),
            Error::Malformed
        );
        assert_eq!(refusal("Bearer .."), Error::Malformed);
        assert_eq!(verify(Some("Bearer x"), &Key::None, &acme(), NOW), Err(Error::NoKey));
        assert_eq!(Error::NoKey.code(), "PGRST300");
        assert_eq!(Error::Parts(2).code(), "PGRST301");
        assert_eq!(Error::Expired.code(), "PGRST303");
        assert_eq!(
            Error::NotNumber("exp").message(),
            "The JWT 'exp' claim must be a number"
        );
        assert_eq!(
            Error::Parts(2).www_authenticate(),
            r#"Bearer error="invalid_token", error_description="Expected 3 parts in JWT; got 2""#
        );
    }

    #[test]
    fn times_have_a_leeway_of_30_seconds() {
        let at = |claim: &str, offset: i64| {
            payload(&format!(r#"{{"{claim}":{}}}"#, NOW.cast_signed() + offset), &own()).map(|_| ())
        };
        assert_eq!((at("exp", -30), at("exp", -31)), (Ok(()), Err(Error::Expired)));
        assert_eq!((at("nbf", 30), at("nbf", 31)), (Ok(()), Err(Error::NotYetValid)));
        assert_eq!((at("iat", 30), at("iat", 31)), (Ok(()), Err(Error::IssuedInFuture)));
    }

    #[test]
    fn claims_of_the_wrong_type_are_refused() {
        let refusal = |json| payload(json, &own()).unwrap_err();
        for json in [
            "[]",
            "[\"clerk\",null,null,null,null]",
            "1",
            "",
            "{",
            r#"{"role":1}"#,
            r#"{"exp":1,"exp":9e9}"#,
        ] {
            assert_eq!(refusal(json), Error::Claims, "{json}");
        }
        assert_eq!(refusal(r#"{"exp":"invalid"}"#), Error::NotNumber("exp"));
        assert_eq!(refusal(r#"{"nbf":{}}"#), Error::NotNumber("nbf"));
        assert_eq!(refusal(r#"{"iat":1e999}"#), Error::NotNumber("iat"));
        assert_eq!(refusal(r#"{"aud":[{},"acme"]}"#), Error::AudienceType);
        assert!(payload(r#"{"exp":null,"aud":null}"#, &own()).is_ok());
    }

    #[test]
    fn the_servers_key_needs_the_tenant_as_audience() {
        for json in [r#"{"aud":"acme"}"#, r#"{"aud":["other","acme"]}"#] {
            assert!(payload(json, &server()).is_ok(), "{json}");
        }
        for json in [
            "{}",
            r#"{"aud":null}"#,
            r#"{"aud":""}"#,
            r#"{"aud":[]}"#,
            r#"{"aud":"other"}"#,
            r#"{"aud":["ACME"]}"#,
        ] {
            assert_eq!(payload(json, &server()), Err(Error::NotInAudience), "{json}");
            assert!(payload(json, &own()).is_ok(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_never_accepted(token in "[Bb]earer [\\PC]{0,40}(\\.[a-zA-Z0-9_-]{0,20}){0,4}") {
            prop_assert!(verify(Some(&token), &own(), &acme(), NOW).is_err());
        }

        #[test]
        fn signed_garbage_never_panics(header in "\\PC{0,30}", json in "\\PC{0,40}") {
            let _ = verify(Some(&token(&header, &json, Algorithm::HS256)), &server(), &acme(), NOW);
            let _ = payload(&json, &server());
        }

        #[test]
        fn one_changed_byte_breaks_a_token(index in 0_usize..1000, byte in 0x21_u8..0x7f) {
            let good = sign(&own(), &acme(), "clerk", Duration::from_secs(60), NOW).unwrap();
            let mut bytes = good.clone().into_bytes();
            let index = index % bytes.len();
            bytes[index] = byte;
            let bad = String::from_utf8(bytes).unwrap();
            prop_assume!(bad != good);
            let authorization = format!("Bearer {bad}");
            prop_assert!(verify(Some(&authorization), &own(), &acme(), NOW).is_err());
        }
    }
}
