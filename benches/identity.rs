//! What a token costs: its signature when it comes for the first time, and a look-up from then on.

#![expect(
    clippy::expect_used,
    reason = "a token that is refused would be measured as a fast one"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rowhouse::config::{Jwks, Secret};
use rowhouse::identity::{Key, Verifier};
use rowhouse::types::TenantId;
use serde_json::json;

criterion_group!(benches, first_time, remembered);
criterion_main!(benches);

const NOW: u64 = 1_800_000_000;

const ALGORITHMS: [(&str, Algorithm); 3] = [
    ("hs256", Algorithm::HS256),
    ("rs256", Algorithm::RS256),
    ("es256", Algorithm::ES256),
];

/// A token that is not remembered: parts, signature, claims, and a place among those that are.
fn first_time(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("identity/first_time");
    group.throughput(Throughput::Elements(1));
    for (name, algorithm) in ALGORITHMS {
        let (signing, key) = keys(algorithm);
        let token = token(algorithm, &signing);
        group.bench_function(name, |bencher| {
            // A verifier that knows no token yet, because one that knows some keeps who knows which of a thousand.
            bencher.iter_batched_ref(
                || verifier(&key),
                |verifier| {
                    verifier
                        .verify(black_box(Some(token.as_str())), NOW)
                        .expect("the token is good")
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// The same token again and again, as of one who clicks through a page.
fn remembered(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("identity/remembered");
    group.throughput(Throughput::Elements(1));
    for (name, algorithm) in ALGORITHMS {
        let (signing, key) = keys(algorithm);
        let verifier = verifier(&key);
        let token = token(algorithm, &signing);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                verifier
                    .verify(black_box(Some(token.as_str())), NOW)
                    .expect("the token is good")
            });
        });
    }
    group.finish();
}

fn verifier(key: &Key) -> Verifier {
    let tenant: TenantId = "acme".parse().expect("an id");
    Verifier::new(key, &tenant, None, &"$.role".parse().expect("a path"))
}

/// What signs, and what a tenant has to verify that.
fn keys(algorithm: Algorithm) -> (EncodingKey, Key) {
    let signing = match algorithm {
        Algorithm::RS256 => {
            let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("an RSA key");
            EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).expect("its own form")
        }
        Algorithm::ES256 => {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("an EC key");
            EncodingKey::from_ec_der(pair.serialized_der())
        }
        _ => {
            let secret = b"reallyreallyreallyreallyverysafe";
            return (EncodingKey::from_secret(secret), Key::Tenant(Secret::new(*secret)));
        }
    };
    let jwk = Jwk::from_encoding_key(&signing, algorithm).expect("the public half");
    let set = json!({ "keys": [jwk] }).to_string();
    (signing, Key::Jwks(Jwks::parse(set.as_bytes()).expect("a key of use")))
}

/// A header value as an identity provider would send it: some claims, none of them long.
fn token(algorithm: Algorithm, signing: &EncodingKey) -> String {
    let claims = json!({
        "iss": "https://id.example.com/", "sub": "user-00001234", "aud": ["acme", "web"], "role": "clerk",
        "iat": NOW - 60, "exp": NOW + 3600, "email": "mia@example.com", "app": { "plan": "pro", "seats": 12 },
    });
    let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, signing).expect("a token");
    format!("Bearer {token}")
}
