//! What connections to other machines need: certificates, and secrets in files.
//!
//! It is read for each connection anew, and may be there only later. So what is wrong with it keeps
//! nothing from starting, and deserves a word. Variables and systemd's credentials are left out: they belong
//! to the process that runs, and `check` is another one.

use super::sources::Source;
use super::upstream::{Access, Sasl, Secret, Tls, Token};
use crate::io::secrets::read_file;
use crate::io::tls::ClientFiles;

/// Why a cluster cannot be reached.
pub(super) fn missing_upstream(access: &Access) -> Vec<String> {
    let Access { tls, sasl, proxy } = access;
    let login = match sasl {
        None | Some(Sasl::OauthBearer { token: Token::Command(_), .. }) => None,
        Some(Sasl::Plain { password, .. } | Sasl::Scram { password, .. }) => secret(password),
        Some(Sasl::OauthBearer { token: Token::File(path), .. }) => read_file(path).err(),
        Some(Sasl::OauthBearer { token: Token::Provider { client_secret, ca, .. }, .. }) => {
            let provider = Tls { ca: ca.clone(), ..Tls::default() };
            secret(client_secret).or_else(|| certificates(&provider))
        }
    };
    let proxy = proxy.as_ref().and_then(|proxy| secret(&proxy.login.as_ref()?.1));
    let tls = tls.as_ref().and_then(certificates);
    let found = [tls, login, proxy].into_iter().flatten();
    found.map(|why| format!("[upstream] cannot be reached as it is: {why}")).collect()
}

/// Why a broker cannot be reached.
pub(super) fn missing_source(source: &Source) -> Vec<String> {
    let password = source.login.as_ref().and_then(|(_, password)| secret(password.as_ref()?));
    let found = [source.tls.as_ref().and_then(certificates), password].into_iter().flatten();
    let name = &source.name;
    found.map(|why| format!("source `{name}` cannot be reached as it is: {why}")).collect()
}

fn secret(secret: &Secret) -> Option<String> {
    match secret {
        Secret::File(path) => read_file(path).err(),
        Secret::Env(_) | Secret::Credential(_) => None,
    }
}

fn certificates(tls: &Tls) -> Option<String> {
    let files = ClientFiles { ca: tls.ca.clone(), identity: tls.client.clone() };
    files.load().err().map(|unusable| unusable.to_string())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// The warnings of a configuration that name a file.
    fn missing(source: &str) -> Vec<String> {
        let config = Config::parse(source).expect("valid");
        config.warnings().into_iter().filter(|warning| warning.contains("/nope/")).collect()
    }

    #[test]
    fn what_an_upstream_lacks_is_named() {
        let upstream = |keys: &str| format!("[upstream]\nbrokers = [\"k:1\"]\n{keys}\n");
        for keys in [
            "tls = { ca = \"/nope/ca.pem\" }",
            "tls = { ca = \"/nope/ca.pem\", cert = \"/nope/a.pem\", key = \"/nope/a.key\" }",
            "sasl = { mechanism = \"PLAIN\", username = \"gw\", password_file = \"/nope/password\" }",
            "sasl = { mechanism = \"SCRAM-SHA-256\", username = \"gw\", password_file = \"/nope/password\" }",
            "sasl = { mechanism = \"OAUTHBEARER\", token_file = \"/nope/token\" }",
            "sasl = { mechanism = \"OAUTHBEARER\", token_url = \"https://id/\", client_id = \"gw\", \
             client_secret_file = \"/nope/secret\" }",
            "proxy = { url = \"http://p:1\", username = \"gw\", password_file = \"/nope/password\" }",
        ] {
            let found = missing(&upstream(keys));
            assert_eq!(found.len(), 1, "{keys}: {found:?}");
            assert!(found[0].starts_with("[upstream] cannot be reached"), "{found:?}");
        }
        let login = "sasl = { mechanism = \"PLAIN\", username = \"gw\", password_env = \"NOPE\" }";
        assert_eq!(missing(&upstream(login)), [""; 0]);
    }

    #[test]
    fn what_a_source_lacks_is_named() {
        let source = |keys: &str| {
            format!("[[source]]\nurl = \"mqtts://b\"\nname = \"hall\"\ntopics = [\"a\"]\n{keys}\n")
        };
        for keys in [
            "tls = { ca = \"/nope/ca.pem\" }",
            "username = \"gw\"\npassword_file = \"/nope/password\"",
        ] {
            let found = missing(&source(keys));
            assert_eq!(found.len(), 1, "{keys}: {found:?}");
            assert!(found[0].starts_with("source `hall` cannot be reached"), "{found:?}");
        }
    }
}
