//! Passwords: argon2id (RFC 9106), with a salt of its own for each.

use std::sync::LazyLock;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Error;

/// The fewest characters of a password (NIST SP 800-63B, 3.1.1.2, asks for eight at least).
pub const LEAST_CHARACTERS: usize = 8;

/// Longer ones only cost time.
const MOST_BYTES: usize = 4000;

/// Checks at once: each takes 19 MiB and some 20 ms of a core, and requests are to be served beside them.
static CHECKS: Semaphore = Semaphore::const_new(2);

/// Those that run and those that wait for it.
static QUEUE: Semaphore = Semaphore::const_new(50);

/// What a password is checked against where there is no such user, so that the time tells nobody which names there are.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash("nobody's password").ok());

/// The hash of a new password as a PHC string. Takes some 20 ms of CPU time, and 19 MiB.
///
/// # Errors
///
/// [`Error::Password`] if nobody should have such a password, [`Error::Hash`].
pub(super) fn hash(password: &str) -> Result<String, Error> {
    if password.chars().count() < LEAST_CHARACTERS || password.len() > MOST_BYTES {
        return Err(Error::Password);
    }
    let mut salt = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| Error::Hash)?;
    let salt = SaltString::encode_b64(&salt).map_err(|_| Error::Hash)?;
    let hash = argon2()?.hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(|_| Error::Hash)?.to_string())
}

/// A password that nobody guesses: sixteen letters and digits, some 80 bits.
///
/// # Errors
///
/// [`Error::Hash`] if the system gives no random bytes.
pub fn new_password() -> Result<String, Error> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Hash)?;
    Ok(spell(&bytes))
}

/// A letter or digit for each byte, of those that nobody takes for another; five bits of each count.
#[must_use]
pub fn spell(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte & 31)]))
        .collect()
}

/// Whether `password` is the one that `hash` was made of; without a hash it is not, after the same time.
///
/// # Errors
///
/// [`Error::Busy`].
pub(super) async fn verify(password: String, hash: Option<String>) -> Result<bool, Error> {
    if password.len() > MOST_BYTES {
        return Ok(false);
    }
    in_turn(move || {
        let known = hash.is_some();
        let Some(hash) = hash.or_else(|| NOBODY.clone()) else {
            return false;
        };
        let matches = PasswordHash::new(&hash)
            .and_then(|parsed| Argon2::default().verify_password(password.as_bytes(), &parsed))
            .is_ok();
        matches && known
    })
    .await
}

/// [`hash`], in turn with what else is hashed.
pub(super) async fn hash_in_turn(password: String) -> Result<String, Error> {
    in_turn(move || hash(&password)).await?
}

/// Runs `hashing` on a thread where it may take its time, when it is its turn. What has begun runs to its end, and keeps its
/// turn until then, even if nobody waits for it any more.
async fn in_turn<T: Send + 'static>(hashing: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let place = QUEUE.try_acquire().map_err(|_| Error::Busy)?;
    let turn = CHECKS.acquire().await.map_err(|_| Error::Busy)?;
    let done = spawn_blocking(move || {
        let _held = (place, turn);
        hashing()
    });
    done.await.map_err(|_| Error::Hash)
}

/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane (Password Storage Cheat Sheet).
fn argon2() -> Result<Argon2<'static>, Error> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(|_| Error::Hash)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_its_own_and_no_other() {
        let first = hash("correct horse").unwrap();
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, hash("correct horse").unwrap(), "salts differ");
        assert!(verify("correct horse".to_owned(), Some(first.clone())).await.unwrap());
        assert!(!verify("correct horsf".to_owned(), Some(first.clone())).await.unwrap());
        assert!(!verify(String::new(), Some(first)).await.unwrap());
    }

    #[tokio::test]
    async fn nobody_has_a_password() {
        assert!(!verify("nobody's password".to_owned(), None).await.unwrap());
        assert!(!verify("x".repeat(MOST_BYTES + 1), None).await.unwrap());
        assert!(!verify("anything".to_owned(), Some("no hash".to_owned())).await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_leaves_does_not_give_up_a_turn_that_is_taken() {
        let (began, begun) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let running = tokio::time::timeout(
            std::time::Duration::from_millis(50),
            in_turn(move || {
                began.send(()).unwrap();
                ended.recv().ok();
            }),
        );
        assert!(running.await.is_err(), "nobody waits for it any more");
        begun.recv().unwrap();
        assert!(CHECKS.available_permits() < 2, "but it runs");
        drop(end);
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert!(matches!(hash("seven 7"), Err(Error::Password)));
        assert!(matches!(hash(&"x".repeat(MOST_BYTES + 1)), Err(Error::Password)));
        assert!(hash("sète à 8").is_ok());
    }
}
