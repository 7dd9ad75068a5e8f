//! A tenant's keys, and the tokens that have been found good.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};
use quick_cache::sync::Cache;

use super::{Claims, Error, Key, Registered, Times, algorithm, bearer, decode};
use crate::config::{Jwks, Secret};
use crate::types::{ClaimPath, TenantId};

/// Tokens remembered per tenant. A token is checked in microseconds, so that more would hardly be worth their memory.
const REMEMBERED: usize = 256;

/// Checks the tokens of one tenant.
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    /// What `aud` must hold, and whether it must be there.
    audience: Option<(Box<str>, bool)>,
    role: ClaimPath,
    known: Cache<Box<str>, Arc<Known>>,
}

/// A key with what it is for.
struct VerifyingKey {
    key: DecodingKey,
    id: Option<String>,
    /// The one algorithm that it is for; any of its family if none.
    algorithm: Option<String>,
}

/// A token that has been found good: its signature, and for whom it is.
struct Known {
    claims: Claims,
    /// Checked each time.
    times: Times,
}

impl Verifier {
    /// A verifier for tokens of `tenant` by `key`, which has seen none yet.
    ///
    /// With the server's key, `aud` must hold the tenant's id. With a key of the tenant's own, an `aud` that is there must
    /// hold `audience`; without an `audience` it may be anything. `role` is where in the claims the role stands.
    ///
    /// It cannot fail: what is in `key` has been read already. With [`Key::None`] it refuses every token.
    #[must_use]
    pub fn new(key: &Key, tenant: &TenantId, audience: Option<&str>, role: &ClaimPath) -> Self {
        let asked = audience.map(|audience| (audience.into(), false));
        let (keys, audience) = match key {
            Key::None => (Vec::new(), None),
            Key::Server(secret) => (vec![VerifyingKey::secret(secret)], Some((tenant.as_str().into(), true))),
            Key::Tenant(secret) => (vec![VerifyingKey::secret(secret)], asked),
            Key::Jwks(jwks) => (VerifyingKey::all(jwks), asked),
        };
        Self {
            keys,
            audience,
            role: role.clone(),
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
        if let Some(known) = self.known.get(token) {
            known.times.check(now)?;
            return Ok(Some(known.claims.clone()));
        }
        // Nothing of the payload is read before the signature holds.
        let payload = self.signed_payload(token)?;
        let registered = Registered::parse(&payload)?;
        let claims = Claims {
            role: self.role_in(&payload, &registered)?,
            json: Arc::clone(&payload),
            // One that is no text has been refused, unless roles are looked for elsewhere.
            stated: registered.role().ok().flatten(),
        };
        let times = registered.times()?;
        times.check(now)?;
        let holds = registered.audience_holds(self.audience.as_ref().map_or("", |(audience, _)| audience))?;
        if let Some((_, required)) = &self.audience
            && (*required || registered.has_audience())
            && !holds
        {
            return Err(Error::NotInAudience);
        }
        let known = Known {
            claims: claims.clone(),
            times,
        };
        self.known.insert(token.into(), Arc::new(known));
        Ok(Some(claims))
    }

    /// The role that a payload names.
    fn role_in(&self, payload: &str, registered: &Registered<'_>) -> Result<Option<Arc<str>>, Error> {
        if self.role.is("role") {
            return registered.role();
        }
        let claims = serde_json::from_str(payload).map_err(|_| Error::Claims)?;
        Ok(self.role.find(&claims).and_then(|role| role.as_str()).map(Arc::from))
    }

    /// The payload of `token`, once its signature is known to be one of the keys'.
    fn signed_payload(&self, token: &str) -> Result<Arc<str>, Error> {
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

    fn all(jwks: &Jwks) -> Vec<Self> {
        let keys = jwks.keys().map(|(jwk, key)| Self {
            key: key.clone(),
            id: jwk.common.key_id.clone(),
            algorithm: jwk.common.key_algorithm.map(|algorithm| algorithm.to_string()),
        });
        keys.collect()
    }

    fn fits(&self, algorithm: Algorithm, name: &str, id: Option<&str>) -> bool {
        let same_id = match (&self.id, id) {
            (Some(own), Some(id)) => own == id,
            _ => true,
        };
        same_id && self.key.family() == algorithm.family() && self.algorithm.as_deref().is_none_or(|only| only == name)
    }
}

impl fmt::Debug for Verifier {
    /// How many keys there are; never a key or a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{EncodingKey, Header};
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
    use serde_json::{Value, json};

    use super::*;
    use crate::config::JwksError;

    const NOW: u64 = 1_800_000_000;
    const SECRET: &[u8] = b"reallyreallyreallyreallyverysafe";

    /// A key to sign with, and what is known of it in public.
    struct Pair {
        signing: EncodingKey,
        jwk: Value,
        pem: String,
        public: Vec<u8>,
    }

    impl Pair {
        /// A new pair for ES256, ES384 or EdDSA; all of RSA have the same one, which takes long to make.
        fn new(algorithm: Algorithm) -> Self {
            static RSA: OnceLock<String> = OnceLock::new();
            let curve = match algorithm {
                Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
                Algorithm::ES384 => &PKCS_ECDSA_P384_SHA384,
                Algorithm::EdDSA => &PKCS_ED25519,
                _ => {
                    let new = || KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().serialize_pem();
                    let pem = RSA.get_or_init(new);
                    let signing = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
                    return Self::of(&KeyPair::from_pem(pem).unwrap(), signing, algorithm);
                }
            };
            let pair = KeyPair::generate_for(curve).unwrap();
            let signing = match algorithm {
                Algorithm::EdDSA => EncodingKey::from_ed_der(pair.serialized_der()),
                _ => EncodingKey::from_ec_der(pair.serialized_der()),
            };
            Self::of(&pair, signing, algorithm)
        }

        fn of(pair: &KeyPair, signing: EncodingKey, algorithm: Algorithm) -> Self {
            let mut jwk = match algorithm {
                // The library wants another form of private key for this.
                Algorithm::EdDSA => Jwk::from_decoding_key(&DecodingKey::from_ed_der(pair.public_key_raw()), None),
                _ => Jwk::from_encoding_key(&signing, algorithm),
            }
            .unwrap();
            jwk.common.key_algorithm = None;
            Self {
                signing,
                jwk: serde_json::to_value(jwk).unwrap(),
                pem: pair.public_key_pem(),
                public: pair.public_key_raw().to_vec(),
            }
        }

        /// The public key with more members.
        fn jwk_with(&self, more: Value) -> Value {
            let mut jwk = self.jwk.clone();
            let members = jwk.as_object_mut().unwrap();
            members.extend(more.as_object().unwrap().clone());
            jwk
        }
    }

    fn tenant() -> TenantId {
        "acme".parse().unwrap()
    }

    fn verifier(key: &Key) -> Verifier {
        Verifier::new(key, &tenant(), None, &"$.role".parse().unwrap())
    }

    fn jwks(text: impl ToString) -> Key {
        Key::Jwks(Jwks::parse(text.to_string().as_bytes()).unwrap())
    }

    /// With the text of a JWK or a JWK Set.
    fn over(text: impl ToString) -> Verifier {
        verifier(&jwks(text))
    }

    fn set(keys: &[Value]) -> Value {
        json!({ "keys": keys })
    }

    fn signed_as(header: &Header, claims: &Value, key: &EncodingKey) -> String {
        format!("Bearer {}", jsonwebtoken::encode(header, claims, key).unwrap())
    }

    fn signed(algorithm: Algorithm, claims: &Value, key: &EncodingKey) -> String {
        signed_as(&Header::new(algorithm), claims, key)
    }

    fn with_kid(algorithm: Algorithm, kid: &str) -> Header {
        Header {
            kid: Some(kid.to_owned()),
            ..Header::new(algorithm)
        }
    }

    /// A token's role, or why it is refused.
    fn role(verifier: &Verifier, token: &str) -> Result<Option<String>, Error> {
        let claims = verifier.verify(Some(token), NOW)?;
        Ok(claims.and_then(|claims| claims.role).map(|role| role.to_string()))
    }

    #[track_caller]
    fn accepts(verifier: &Verifier, token: &str) {
        assert_eq!(role(verifier, token), Ok(Some("clerk".to_owned())), "{token}");
    }

    fn clerk() -> Value {
        json!({ "role": "clerk", "exp": NOW + 60 })
    }

    #[test]
    fn every_algorithm_verifies_by_a_key_alone_and_in_a_set() {
        let other = [
            Pair::new(Algorithm::ES256).jwk,
            Pair::new(Algorithm::ES384).jwk,
            Pair::new(Algorithm::EdDSA).jwk,
        ];
        for algorithm in [
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ] {
            let pair = Pair::new(algorithm);
            let token = signed(algorithm, &clerk(), &pair.signing);
            accepts(&over(&pair.jwk), &token);
            for place in 0..=other.len() {
                let mut keys = other.to_vec();
                keys.insert(place, pair.jwk.clone());
                accepts(&over(set(&keys)), &token);
            }
            // All the others are not it.
            if pair.jwk["kty"] == "RSA" {
                assert_eq!(role(&over(set(&other)), &token), Err(Error::KeyType), "{algorithm:?}");
            } else {
                assert_eq!(role(&over(set(&other)), &token), Err(Error::Signature), "{algorithm:?}");
            }
            let (unsigned, _) = token.rsplit_once('.').unwrap();
            assert_eq!(
                role(&over(&pair.jwk), &format!("{unsigned}.")),
                Err(Error::Signature),
                "{algorithm:?}"
            );
        }
    }

    /// RFC 7515, appendix A.3, and RFC 8037, appendix A.4, whose payload is a sentence.
    #[test]
    fn the_examples_of_the_specifications_verify() {
        let verifier = over(set(&[
            json!({
                "kty": "EC", "crv": "P-256",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }),
        ]));
        let es256 = "Bearer eyJhbGciOiJFUzI1NiJ9.\
                     eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                     DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let claims = verifier.verify(Some(es256), 1_300_819_380).unwrap().unwrap();
        let signed = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
        assert_eq!((&*claims.json, claims.role), (signed, None));
        assert_eq!(role(&verifier, es256), Err(Error::Expired));

        let ed25519 = "Bearer eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                       hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        // No claims, but signed; with another letter not even that.
        assert_eq!(role(&verifier, ed25519), Err(Error::Claims));
        let changed = ed25519.replace("RXhhbXBsZ", "RXhhbXBsY");
        assert_eq!(role(&verifier, &changed), Err(Error::Signature));
    }

    #[test]
    fn the_id_of_a_key_picks_it() {
        let algorithm = Algorithm::ES256;
        let [a, b, unnamed] = [(); 3].map(|()| Pair::new(algorithm));
        let named = [
            a.jwk_with(json!({ "kid": "a" })),
            b.jwk_with(json!({ "kid": "b" })),
            Pair::new(Algorithm::RS256).jwk_with(json!({ "kid": "a" })),
        ];
        let token = |kid: &str, pair: &Pair| signed_as(&with_kid(algorithm, kid), &clerk(), &pair.signing);
        let verifier = over(set(&named));
        accepts(&verifier, &token("a", &a));
        accepts(&verifier, &token("b", &b));
        assert_eq!(role(&verifier, &token("b", &a)), Err(Error::Signature));
        assert_eq!(role(&verifier, &token("a", &b)), Err(Error::Signature));
        for nobodys in ["c", "A", "", "a "] {
            assert_eq!(role(&verifier, &token(nobodys, &a)), Err(Error::KeyType), "{nobodys:?}");
        }
        // A token that names none is tried with all, and a key without a name is tried for every token.
        for pair in [&a, &b] {
            accepts(&verifier, &signed(algorithm, &clerk(), &pair.signing));
        }
        let keys = [unnamed.jwk.clone(), named[0].clone()];
        let verifier = over(set(&keys));
        accepts(&verifier, &token("c", &unnamed));
        accepts(&verifier, &token("a", &unnamed));
        accepts(&verifier, &token("a", &a));
        assert_eq!(role(&verifier, &token("c", &a)), Err(Error::Signature));
        // Two keys of one name and family, as while one takes over from the other.
        let keys = [
            a.jwk_with(json!({ "kid": "same" })),
            b.jwk_with(json!({ "kid": "same" })),
        ];
        for pair in [&a, &b] {
            accepts(&over(set(&keys)), &token("same", pair));
        }
    }

    #[test]
    fn a_key_is_used_for_what_it_says_alone() {
        let rsa = Pair::new(Algorithm::RS256);
        let outcome = |more: Value, algorithm| {
            let token = signed(algorithm, &clerk(), &rsa.signing);
            role(&over(rsa.jwk_with(more)), &token)
        };
        let good = || Ok(Some("clerk".to_owned()));
        for (more, algorithm, expected) in [
            (json!({ "alg": "RS256" }), Algorithm::RS256, good()),
            (json!({ "alg": "RS256" }), Algorithm::RS384, Err(Error::KeyType)),
            (json!({ "alg": "RS256" }), Algorithm::PS256, Err(Error::KeyType)),
            (json!({ "alg": "PS512" }), Algorithm::PS512, good()),
            (json!({ "alg": "PS512" }), Algorithm::RS512, Err(Error::KeyType)),
            // Of another family, for encryption, and none that there is.
            (json!({ "alg": "ES256" }), Algorithm::RS256, Err(Error::KeyType)),
            (json!({ "alg": "HS256" }), Algorithm::RS256, Err(Error::KeyType)),
            (json!({ "alg": "RSA-OAEP" }), Algorithm::RS256, Err(Error::KeyType)),
            (json!({ "alg": "rs256" }), Algorithm::RS256, Err(Error::KeyType)),
            (json!({ "alg": null }), Algorithm::RS256, good()),
            (json!({ "use": "sig" }), Algorithm::RS256, good()),
            (json!({ "key_ops": ["verify"] }), Algorithm::RS256, good()),
            (json!({ "key_ops": ["encrypt", "verify"] }), Algorithm::RS256, good()),
        ] {
            assert_eq!(outcome(more.clone(), algorithm), expected, "{more} {algorithm:?}");
        }
        for more in [
            json!({ "use": "enc" }),
            json!({ "use": "other" }),
            json!({ "key_ops": ["encrypt"] }),
            json!({ "key_ops": [] }),
            json!({ "use": "enc", "key_ops": ["verify"] }),
        ] {
            let text = rsa.jwk_with(more).to_string();
            assert_eq!(Jwks::parse(text.as_bytes()), Err(JwksError::NoUse), "{text}");
        }
        // One that is not for signatures does not stand in the way of one that is.
        let keys = [
            rsa.jwk_with(json!({ "use": "enc" })),
            rsa.jwk_with(json!({ "use": "sig" })),
        ];
        accepts(&over(set(&keys)), &signed(Algorithm::RS256, &clerk(), &rsa.signing));
    }

    #[test]
    fn a_curve_is_used_for_its_own_algorithm_alone() {
        let [small, large] = [Algorithm::ES256, Algorithm::ES384].map(Pair::new);
        let es256 = signed(Algorithm::ES256, &clerk(), &small.signing);
        let es384 = signed(Algorithm::ES384, &clerk(), &large.signing);
        assert_eq!(role(&over(&large.jwk), &es256), Err(Error::Signature));
        assert_eq!(role(&over(&small.jwk), &es384), Err(Error::Signature));
        let both = over(set(&[small.jwk, large.jwk]));
        accepts(&both, &es256);
        accepts(&both, &es384);
    }

    /// CVE-2015-9235 and all that came after it: everybody knows the public key.
    #[test]
    fn a_public_key_is_never_taken_for_a_secret() {
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
            let pair = Pair::new(algorithm);
            let alone = pair.jwk.to_string();
            let in_set = set(std::slice::from_ref(&pair.jwk)).to_string();
            let mut secrets = vec![
                alone.clone().into_bytes(),
                in_set.clone().into_bytes(),
                pair.pem.clone().into_bytes(),
                pair.pem.trim_end().as_bytes().to_vec(),
                pair.public.clone(),
            ];
            // The modulus or the coordinates, as they are written and as they are.
            for member in ["n", "x", "y"] {
                let Some(written) = pair.jwk[member].as_str() else {
                    continue;
                };
                secrets.push(written.as_bytes().to_vec());
                let padded = format!("{written}{}", &"==="[..(4 - written.len() % 4) % 4]);
                secrets.push(
                    EncodingKey::from_urlsafe_base64_secret(&padded)
                        .unwrap()
                        .as_bytes()
                        .to_vec(),
                );
            }
            for secret in &secrets {
                let key = EncodingKey::from_secret(secret);
                for hmac in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                    let token = signed(hmac, &clerk(), &key);
                    for jwks in [&alone, &in_set] {
                        assert_eq!(role(&over(jwks), &token), Err(Error::KeyType), "{algorithm:?} {hmac:?}");
                    }
                    // A file of PEM is no JWK.
                    assert_eq!(Jwks::parse(pair.pem.as_bytes()), Err(JwksError::NoJwk), "{algorithm:?}");
                }
                // With a secret beside it in the set, it is that secret that counts.
                let oct = json!({ "kty": "oct", "k": OCTETS });
                let verifier = over(set(&[pair.jwk.clone(), oct]));
                let forged = signed(Algorithm::HS256, &clerk(), &key);
                assert_eq!(role(&verifier, &forged), Err(Error::Signature), "{algorithm:?}");
                let good = signed(Algorithm::HS256, &clerk(), &EncodingKey::from_secret(SECRET));
                accepts(&verifier, &good);
            }
        }
    }

    /// [`SECRET`] in base64url.
    const OCTETS: &str = "cmVhbGx5cmVhbGx5cmVhbGx5cmVhbGx5dmVyeXNhZmU";

    #[test]
    fn a_secret_is_never_taken_for_a_public_key() {
        let rsa = Pair::new(Algorithm::RS256);
        let token = signed(Algorithm::RS256, &clerk(), &rsa.signing);
        for key in [
            Key::Tenant(Secret::new(rsa.jwk.to_string().into_bytes())),
            Key::Tenant(Secret::new(rsa.pem.clone().into_bytes())),
            Key::Tenant(Secret::new(SECRET)),
            jwks(json!({ "kty": "oct", "k": OCTETS })),
        ] {
            assert_eq!(role(&verifier(&key), &token), Err(Error::KeyType), "{key:?}");
        }
    }

    #[test]
    fn the_audience_counts_where_one_is_named() {
        let verifier = |key: &Key, audience| Verifier::new(key, &tenant(), audience, &"$.role".parse().unwrap());
        let secret = || Secret::new(SECRET);
        let jwks = jwks(json!({ "kty": "oct", "k": OCTETS }));
        let key = EncodingKey::from_secret(SECRET);
        let with_aud = |aud: &Value| signed(Algorithm::HS256, &json!({ "role": "clerk", "aud": aud }), &key);
        for own in [Key::Tenant(secret()), jwks] {
            let (asked, unasked) = (verifier(&own, Some("web")), verifier(&own, None));
            accepts(&asked, &signed(Algorithm::HS256, &clerk(), &key));
            for aud in [json!(null), json!("web"), json!(["web"]), json!(["x", "web"])] {
                accepts(&asked, &with_aud(&aud));
                accepts(&unasked, &with_aud(&aud));
            }
            for aud in [json!("acme"), json!("WEB"), json!(""), json!(["x", "webs"])] {
                assert_eq!(role(&asked, &with_aud(&aud)), Err(Error::NotInAudience), "{aud}");
                accepts(&unasked, &with_aud(&aud));
            }
            accepts(&asked, &with_aud(&json!([])));
            for aud in [json!(1), json!([1]), json!({ "web": 1 }), json!(true)] {
                assert_eq!(role(&asked, &with_aud(&aud)), Err(Error::AudienceType), "{aud}");
                assert_eq!(role(&unasked, &with_aud(&aud)), Err(Error::AudienceType), "{aud}");
            }
        }
        // The server's key opens every tenant, so that nothing a tenant says may stand for its id.
        let server = verifier(&Key::Server(secret()), Some("web"));
        accepts(&server, &with_aud(&json!("acme")));
        accepts(&server, &with_aud(&json!(["web", "acme"])));
        for aud in [json!(null), json!("web"), json!([])] {
            assert_eq!(role(&server, &with_aud(&aud)), Err(Error::NotInAudience), "{aud}");
        }
    }

    #[test]
    fn the_times_of_a_remembered_token_are_checked_again() {
        let pair = Pair::new(Algorithm::EdDSA);
        let verifier = over(&pair.jwk);
        let claims = json!({ "role": "clerk", "nbf": NOW, "exp": NOW + 60 });
        let token = signed(Algorithm::EdDSA, &claims, &pair.signing);
        let at = |now| verifier.verify(Some(&token), now).map(|claims| claims.is_some());
        assert_eq!(at(NOW - 31), Err(Error::NotYetValid));
        assert_eq!(verifier.known.len(), 0);
        for _ in 0..3 {
            assert_eq!(at(NOW), Ok(true));
            assert_eq!(at(NOW + 90), Ok(true));
            assert_eq!(verifier.known.len(), 1);
            assert_eq!(at(NOW + 91), Err(Error::Expired));
            assert_eq!(at(NOW - 31), Err(Error::NotYetValid));
        }
    }

    #[test]
    fn a_refused_token_is_not_remembered() {
        let verifier = Verifier::new(
            &Key::Tenant(Secret::new(SECRET)),
            &tenant(),
            Some("web"),
            &"$.role".parse().unwrap(),
        );
        let key = EncodingKey::from_secret(SECRET);
        let other = EncodingKey::from_secret(b"another secret, also of 32 bytes");
        let good = signed(Algorithm::HS256, &clerk(), &key);
        for token in [
            signed(Algorithm::HS256, &clerk(), &other),
            signed(Algorithm::HS256, &json!({ "exp": NOW - 31 }), &key),
            signed(Algorithm::HS256, &json!({ "nbf": NOW + 31 }), &key),
            signed(Algorithm::HS256, &json!({ "iat": NOW + 31 }), &key),
            signed(Algorithm::HS256, &json!({ "exp": "soon" }), &key),
            signed(Algorithm::HS256, &json!({ "aud": "acme" }), &key),
            signed(Algorithm::HS256, &json!({ "aud": 1 }), &key),
            signed(Algorithm::HS256, &json!({ "role": 1 }), &key),
            "Bearer".to_owned(),
            "Bearer a.b.c".to_owned(),
            format!("{good}."),
        ] {
            let first = role(&verifier, &token);
            assert!(first.is_err(), "{token}");
            assert_eq!(role(&verifier, &token), first, "{token}");
            assert_eq!(verifier.known.len(), 0, "{token}");
        }
        // What is remembered is the whole token: with another signature or another payload it is another one.
        accepts(&verifier, &good);
        assert_eq!(verifier.known.len(), 1);
        let (unsigned, signature) = good.rsplit_once('.').unwrap();
        let forged = signed(Algorithm::HS256, &json!({ "role": "boss" }), &other);
        let (payload, _) = forged.rsplit_once('.').unwrap();
        for token in [
            format!("{unsigned}."),
            format!("{unsigned}.{}", &signature[4..]),
            format!("{payload}.{signature}"),
        ] {
            assert_eq!(role(&verifier, &token), Err(Error::Signature), "{token}");
        }
        accepts(&verifier, &good);
        assert_eq!(verifier.known.len(), 1);
    }

    #[test]
    fn more_tokens_than_are_remembered_verify() {
        let verifier = verifier(&Key::Tenant(Secret::new(SECRET)));
        let key = EncodingKey::from_secret(SECRET);
        let tokens: Vec<String> = (0..4 * REMEMBERED)
            .map(|n| signed(Algorithm::HS256, &json!({ "role": format!("r{n}") }), &key))
            .collect();
        for _ in 0..2 {
            for (n, token) in tokens.iter().enumerate() {
                assert_eq!(role(&verifier, token), Ok(Some(format!("r{n}"))));
                assert_eq!(role(&verifier, token), Ok(Some(format!("r{n}"))));
            }
        }
        // Shards round up, each for itself.
        assert!(verifier.known.len() <= 2 * REMEMBERED, "{}", verifier.known.len());
    }

    #[test]
    fn neither_keys_nor_tokens_are_printed() {
        let verifier = verifier(&Key::Tenant(Secret::new(SECRET)));
        let token = signed(Algorithm::HS256, &clerk(), &EncodingKey::from_secret(SECRET));
        accepts(&verifier, &token);
        assert_eq!(format!("{verifier:?}"), "Verifier { keys: 1, .. }");
    }
}
