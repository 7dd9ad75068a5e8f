//! Values that must never be printed.

use std::fmt;
use std::sync::Arc;

/// A key for HMAC has at least the size of the smallest hash (RFC 7518, section 3.2).
pub(super) const MIN_SECRET_LEN: usize = 32;

/// A key or password. Neither `Debug` nor `Display` shows it.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Keeps `value` from being printed.
    pub fn new(value: impl Into<Arc<[u8]>>) -> Self {
        Self(value.into())
    }

    /// The value itself, to sign or verify with; never to print.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new(*b"hunter2hunter2");
        assert_eq!(
            format!("{secret:?} {secret:#?} {secret}"),
            "Secret(***) Secret(***) ***"
        );
    }
}
