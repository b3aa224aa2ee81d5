//! Whose web pages may connect by WebSocket. A browser connects for any page, from wherever its user is, and tells the
//! server whose it is; nobody but the server asks.

use std::sync::Arc;

use toml::Spanned;

use super::problem::Problem;

/// Whose web pages may connect. Who is no web page tells no origin, and may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's.
    #[default]
    Any,
    /// Those of the host that is connected to, at whatever port.
    SameHost,
    /// Those of these origins: `scheme://host`, with the port if it is not the scheme's own.
    These(Arc<[Box<str>]>),
}

impl Origins {
    /// Whether a page of `origin` may connect to `host`, as the two stand in the request.
    #[must_use]
    pub fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::SameHost => {
                let own = origin.split_once("://").map(|(_, authority)| without_port(authority));
                let is_same = |(own, host): (&str, &str)| own.eq_ignore_ascii_case(host);
                own.zip(host.map(without_port)).is_some_and(is_same)
            }
            Self::These(origins) => origins.iter().any(|one| one.eq_ignore_ascii_case(origin)),
        }
    }

    /// Reads the key. Without it pages of others are kept away where no password is needed (`is_open`): nothing but
    /// this keeps them from what the browser's user can reach.
    pub(super) fn check(
        given: Option<&Spanned<Vec<String>>>,
        is_open: bool,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let Some(given) = given else {
            return if is_open { Self::SameHost } else { Self::Any };
        };
        let origins = given.get_ref();
        if origins.iter().any(|origin| origin == "*") {
            return Self::Any;
        }
        if let Some(wrong) = origins.iter().find(|origin| !is_origin(origin)) {
            problems.push(
                Problem::at(given.span(), format!("`{wrong}` is no origin of web pages"))
                    .help("as browsers tell it: \"https://dashboard.example\", or \"*\" for all"),
            );
        }
        Self::These(origins.iter().map(|origin| origin.as_str().into()).collect())
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Scheme, host, perhaps a port, and nothing behind it.
fn is_origin(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte);
    text.split_once("://").is_some_and(|(scheme, authority)| {
        !scheme.is_empty() && !authority.is_empty() && authority.bytes().all(is_plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_host_are_told_from_those_of_others() {
        let may = |origin: &str, host: &str| Origins::SameHost.allow(origin, Some(host));
        assert!(may("http://gw:3000", "GW:8884") && may("https://gw", "gw"));
        assert!(may("http://[fd00::1]", "[fd00::1]:9001") && !may("http://[fd00::1]", "[fd00::2]"));
        for other in ["http://gw.evil.example", "http://evil.example:8884", "null", "", "gw"] {
            assert!(!may(other, "gw:8884"), "{other}");
        }
        assert!(!Origins::SameHost.allow("http://gw", None));
    }

    #[test]
    fn origins_are_taken_as_browsers_tell_them() {
        let check = |origins: &[&str]| {
            let given = origins.iter().map(|&origin| origin.to_owned()).collect();
            let mut problems = Vec::new();
            (Origins::check(Some(&Spanned::new(0..1, given)), true, &mut problems), problems.len())
        };
        let (origins, problems) = check(&["https://dashboard.example", "http://gw:3000"]);
        assert!(problems == 0 && origins.allow("HTTPS://dashboard.example", None));
        assert!(!origins.allow("http://dashboard.example", Some("dashboard.example")));
        assert_eq!(check(&["*"]), (Origins::Any, 0));
        for wrong in ["dashboard.example", "https://a/", "https://", "https://*.example"] {
            assert_eq!(check(&[wrong]).1, 1, "{wrong}");
        }
    }
}
