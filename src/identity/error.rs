//! Why a token is refused, in the words of the dialect.

use thiserror::Error;

/// Why a token is refused. Clients show and compare the texts: messages are those of PostgREST (`Error.hs`, `JwtError`),
/// details those of the library that it reads tokens with (jose-jwt, `Jose.Jwt`).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Error {
    /// A token came, but neither the tenant nor the server has a key.
    #[error("Server lacks JWT secret")]
    NoKey,
    /// `Authorization: Bearer` with nothing behind it.
    #[error("Empty JWT is sent in Authorization header")]
    Empty,
    /// Not three parts with dots between them.
    #[error("Expected 3 parts in JWT; got {0}")]
    Parts(usize),
    /// A part is no base64url, the header is no JSON with `alg`, or it demands (`crit`) what is not understood.
    #[error("JWT cryptographic operation failed")]
    Malformed,
    /// `alg` is `none`.
    #[error("Wrong or unsupported encoding algorithm")]
    Unsecured,
    /// There is no key for its `alg` and `kid`.
    #[error("No suitable key or wrong key type")]
    KeyType,
    /// The signature is that of none of those keys.
    #[error("No suitable key or wrong key type")]
    Signature,
    /// The payload is no JSON object, has a claim twice, or `role` is no string.
    #[error("Parsing claims failed")]
    Claims,
    /// `exp`, `nbf` or `iat` (the name) is no number.
    #[error("The JWT '{0}' claim must be a number")]
    NotNumber(&'static str),
    /// `aud` is neither a string nor an array of strings.
    #[error("The JWT 'aud' claim must be a string or an array of strings")]
    AudienceType,
    /// `exp` has passed.
    #[error("JWT expired")]
    Expired,
    /// `nbf` has not come.
    #[error("JWT not yet valid")]
    NotYetValid,
    /// `iat` has not come.
    #[error("JWT issued at future")]
    IssuedInFuture,
    /// `aud` does not hold the tenant.
    #[error("JWT not in audience")]
    NotInAudience,
    /// Signing a new token failed; no answer to a request.
    #[error("signing the JWT failed")]
    Signing,
}

impl Error {
    /// The dialect's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoKey => "PGRST300",
            Self::Empty | Self::Parts(_) | Self::Malformed | Self::Unsecured | Self::KeyType | Self::Signature => {
                "PGRST301"
            }
            Self::Claims
            | Self::NotNumber(_)
            | Self::AudienceType
            | Self::Expired
            | Self::NotYetValid
            | Self::IssuedInFuture
            | Self::NotInAudience => "PGRST303",
            Self::Signing => "PGRSTX00",
        }
    }

    /// The dialect's message.
    #[must_use]
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// The dialect's details.
    #[must_use]
    pub fn details(&self) -> Option<&'static str> {
        match self {
            Self::Unsecured => Some("JWT is unsecured but expected 'alg' was not 'none'"),
            Self::KeyType | Self::Signature => Some("None of the keys was able to decode the JWT"),
            _ => None,
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750, section 3). Meant for `PGRST301` and `PGRST303`: with `PGRST300` no
    /// other token would help.
    #[must_use]
    pub fn www_authenticate(&self) -> String {
        let description = self.to_string().replace('\\', "\\\\").replace('"', "\\\"");
        format!("Bearer error=\"invalid_token\", error_description=\"{description}\"")
    }
}
