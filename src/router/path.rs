//! The path of a request: which thing of the tenant it addresses.

use std::borrow::Cow;

use crate::percent::decode_segment;
use crate::router::Error;

/// What a path addresses. Names are percent-decoded; whether a relation of that name exists is the catalog's business.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Path<'a> {
    /// `/`: the tenant's front page.
    Home,
    /// `/name`, `/name/`: a relation as a page.
    Page {
        /// The relation's name.
        relation: Cow<'a, str>,
    },
    /// `/api`, `/api/`: the description of the API.
    ApiRoot,
    /// `/api/name`, `/api/name/`: a relation in the dialect.
    Api {
        /// The relation's name.
        relation: Cow<'a, str>,
    },
    /// `/api/rpc/name`: a function in the dialect.
    Call {
        /// The function's name.
        function: Cow<'a, str>,
    },
    /// `/-/…`: a file of the program's own pages. The text after `/-/`, not decoded, to be compared with known names only.
    Asset(&'a str),
    /// `/admin`, `/admin/…`: the console. The text from the `/` on, not decoded.
    Admin(&'a str),
}

impl<'a> Path<'a> {
    /// Reads the path of a request target, without its query.
    ///
    /// The first segment is decoded before it is compared, so that `/%61dmin` is `/admin` (RFC 3986, section 6.2.2.2).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPath`] for a path that is nested deeper, has an empty segment, does not begin with `/`, or holds
    /// a name that is no percent-encoded UTF-8 or decodes to one with NUL or `/`.
    pub fn parse(path: &'a str) -> Result<Self, Error> {
        let path = path.strip_prefix('/').ok_or(Error::InvalidPath)?;
        if path.is_empty() {
            return Ok(Self::Home);
        }
        let (first, rest) = match path.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        let first = name(first)?;
        match (&*first, rest) {
            ("-", Some(file)) => Ok(Self::Asset(file)),
            ("-", None) => Err(Error::InvalidPath),
            ("admin", None) => Ok(Self::Admin("")),
            ("admin", Some(_)) => Ok(Self::Admin(path.split_at(path.find('/').unwrap_or(path.len())).1)),
            ("api", None | Some("")) => Ok(Self::ApiRoot),
            ("api", Some(rest)) => {
                let rest = rest.strip_suffix('/').unwrap_or(rest);
                match rest.strip_prefix("rpc/") {
                    Some(function) => Ok(Self::Call {
                        function: name(function)?,
                    }),
                    None => Ok(Self::Api { relation: name(rest)? }),
                }
            }
            (_, None | Some("")) => Ok(Self::Page { relation: first }),
            (_, Some(_)) => Err(Error::InvalidPath),
        }
    }
}

/// One segment as a name.
fn name(segment: &str) -> Result<Cow<'_, str>, Error> {
    let decoded = decode_segment(segment).ok_or(Error::InvalidPath)?;
    // Neither can be in a name that Postgres holds and a URL shows; a `/` from `%2F` would fake a nested path.
    if decoded.is_empty() || decoded.contains(['\0', '/']) {
        return Err(Error::InvalidPath);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Path<'_>) {
        assert_eq!(Path::parse(path), Ok(expected), "{path:?}");
    }

    fn page(relation: &str) -> Path<'_> {
        Path::Page {
            relation: relation.into(),
        }
    }

    fn api(relation: &str) -> Path<'_> {
        Path::Api {
            relation: relation.into(),
        }
    }

    #[test]
    fn every_kind_of_path() {
        check("/", Path::Home);
        check("/projects", page("projects"));
        check("/projects/", page("projects"));
        check("/api", Path::ApiRoot);
        check("/api/", Path::ApiRoot);
        check("/api/projects", api("projects"));
        check("/api/projects/", api("projects"));
        check("/api/admin", api("admin"));
        for path in ["/api/rpc/add", "/api/rpc/add/", "/api/rpc/%61dd"] {
            check(path, Path::Call { function: "add".into() });
        }
        check("/api/rpc", api("rpc"));
        check("/-/style.css", Path::Asset("style.css"));
        check("/-/a/b%2F", Path::Asset("a/b%2F"));
        check("/admin", Path::Admin(""));
        check("/admin/", Path::Admin("/"));
        check("/admin/tenants/a", Path::Admin("/tenants/a"));
        check("/administrators", page("administrators"));
        check("/apis", page("apis"));
    }

    #[test]
    fn names_are_percent_decoded_once() {
        check("/api/ghost%C3%ADes%20x", api("ghostíes x"));
        check("/api/%2561", api("%61"));
        check("/a+b", page("a+b"));
        check("/%61dmin", Path::Admin(""));
        check("/%61dmin/x%2F", Path::Admin("/x%2F"));
        check("/%61pi/x", api("x"));
        check("/%2d/x", Path::Asset("x"));
    }

    #[test]
    fn bad_paths_are_refused() {
        for path in [
            "",
            "*",
            "projects",
            "//",
            "//x",
            "/x//",
            "/x/y",
            "/-",
            "/api//",
            "/api//x",
            "/api/x//",
            "/api/x/y",
            "/api/rpc/rpc/add",
            "/api/rpc//add",
            "/api/rpc/add/x",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/%ff",
            "/a%00",
            "/api/a%2Fb",
            "/api/%2f",
            "/api%2Fx",
            "/%C3",
        ] {
            assert_eq!(Path::parse(path), Err(Error::InvalidPath), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(path in "\\PC{0,60}") {
            let _ = Path::parse(&path);
        }

        #[test]
        fn names_hold_neither_nul_nor_slash(path in "/(api/)?([a-z%/]|%[0-9a-fA-F]{2}){0,12}") {
            if let Ok(Path::Page { relation } | Path::Api { relation }) = Path::parse(&path) {
                prop_assert!(!relation.is_empty() && !relation.contains(['\0', '/']));
            }
        }
    }
}
