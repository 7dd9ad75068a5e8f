//! The secret of a session, and the cookie that carries it.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

use super::Error;

/// The secret of one session: 32 random bytes, in the cookie as 64 hexadecimal digits.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Token([u8; 32]);

impl Token {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`Error::Hash`] if the system gives no random bytes.
    pub fn new() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Hash)?;
        Ok(Self(bytes))
    }

    /// Reads what [`text`](Self::text) wrote.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
        }
        Some(Self(bytes))
    }

    fn text(&self) -> String {
        hex(&self.0)
    }

    /// What the table knows it by.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        bytes
    }

    /// What every form of the session carries: another site can send a form, but cannot know this.
    #[must_use]
    pub fn form_key(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        hex(&hmac::sign(&key, b"rowhouse console form").as_ref()[..16])
    }

    /// Whether `given` is the session's [`form_key`](Self::form_key). Takes the same time whatever it is.
    #[must_use]
    pub fn has_form_key(&self, given: &str) -> bool {
        verify_slices_are_equal(self.form_key().as_bytes(), given.as_bytes()).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

/// The cookie of a session.
///
/// Over TLS its name begins with `__Host-`, which browsers take from this very host only, for the whole of it and over TLS
/// (RFC 6265bis, 4.1.3.2): a neighbour under the same domain cannot set it. It is `HttpOnly` and `SameSite=Lax`, so that a
/// link from elsewhere opens the console; what changes anything asks for more than the cookie.
#[derive(Clone, Copy, Debug)]
pub struct Cookie {
    tls: bool,
}

impl Cookie {
    /// That of a connection.
    #[must_use]
    pub fn new(tls: bool) -> Self {
        Self { tls }
    }

    fn name(self) -> &'static str {
        if self.tls { SECURE } else { PLAIN }
    }

    /// The session that the values of `Cookie` name. Of several the first counts that is one.
    pub fn read<'a>(self, headers: impl Iterator<Item = &'a str>) -> Option<Token> {
        let pairs = headers.flat_map(|value| value.split(';'));
        pairs
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.name())
            .find_map(|(_, value)| Token::parse(value))
    }

    /// `Set-Cookie` for a session that lasts `seconds`.
    #[must_use]
    pub fn set(self, token: &Token, seconds: u64) -> String {
        format!(
            "{}={}; Max-Age={seconds}; {}",
            self.name(),
            token.text(),
            self.attributes()
        )
    }

    /// `Set-Cookie` that ends it.
    #[must_use]
    pub fn clear(self) -> String {
        format!("{}=; Max-Age=0; {}", self.name(), self.attributes())
    }

    fn attributes(self) -> &'static str {
        if self.tls {
            "Path=/; HttpOnly; SameSite=Lax; Secure"
        } else {
            "Path=/; HttpOnly; SameSite=Lax"
        }
    }

    /// Whether a cookie of this name is a session's, which is nobody's business but the console's.
    #[must_use]
    pub fn is_ours(name: &str) -> bool {
        name == SECURE || name == PLAIN
    }
}

const SECURE: &str = "__Host-rowhouse";
const PLAIN: &str = "rowhouse_session";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_comes_back_as_it_was_set() {
        for tls in [false, true] {
            let (cookie, token) = (Cookie::new(tls), Token::new().unwrap());
            let set = cookie.set(&token, 60);
            let (pair, attributes) = set.split_once("; ").unwrap();
            let sent = format!("theme=dark; {pair}; a=b");
            assert_eq!(cookie.read([sent.as_str()].into_iter()), Some(token));
            assert!(attributes.contains("HttpOnly") && attributes.contains("SameSite=Lax"));
            assert_eq!(attributes.contains("Secure"), tls);
            assert_eq!(pair.starts_with("__Host-"), tls);
            assert!(!attributes.contains("Domain"), "it is for this host alone");
            // A session over TLS is none without it, and the other way round.
            assert_eq!(Cookie::new(!tls).read([sent.as_str()].into_iter()), None);
        }
    }

    #[test]
    fn what_is_no_token_is_passed_over() {
        let token = Token::new().unwrap();
        let sent = format!(
            "rowhouse_session=; rowhouse_session=zz; rowhouse_session={}",
            token.text()
        );
        assert_eq!(Cookie::new(false).read([sent.as_str()].into_iter()), Some(token));
        let upper = format!("rowhouse_session={}é", "a".repeat(62));
        assert_eq!(Cookie::new(false).read([upper.as_str()].into_iter()), None);
    }

    #[test]
    fn a_form_key_is_of_one_session() {
        let [one, other] = [Token::new().unwrap(), Token::new().unwrap()];
        assert!(one.has_form_key(&one.form_key()));
        assert!(!other.has_form_key(&one.form_key()));
        assert!(!one.has_form_key(""));
        assert!(!one.form_key().contains(&one.text()[..16]));
        assert_eq!(format!("{one:?}"), "Token(***)");
    }
}
