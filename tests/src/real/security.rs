//! A broker with TLS, logins of every kind and an authorizer that permits nothing by itself. Whoever
//! comes in without TLS is the administrator.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::kafka::{Kafka, Listeners, Setup};
use super::{ports, process};
use crate::authority::{Authority, Pair};

/// The user behind every login, and the name in the client's certificate.
pub const USER: &str = "gw";
/// Of that user.
pub const PASSWORD: &str = "graphite-pencil";
/// After so long a login has to be repeated (KIP-368).
const LOGIN_MS_MAX: u32 = 2_000;

/// The broker, and what clients need.
#[derive(Debug)]
pub struct Secured {
    /// The broker.
    pub kafka: Kafka,
    /// `host:port` for logins.
    pub sasl: String,
    /// `host:port` for certificates.
    pub mtls: String,
    /// Who has signed the broker's certificate.
    pub authority: Authority,
    /// The user's certificate.
    pub identity: Pair,
}

impl Secured {
    /// Starts it, with the user's passwords set.
    ///
    /// # Errors
    /// It does not answer.
    pub fn start(setup: Setup, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let authority = Authority::new()?;
        let own = authority.server("broker", "localhost")?;
        let identity = authority.client(USER, false)?;
        let both = [&own.key, &own.cert, &authority.cert()].map(fs::read_to_string);
        let store = dir.join("broker.store");
        fs::write(&store, both.into_iter().collect::<Result<String, _>>()?)?;
        let (sasl, mtls) = (ports::free()?, ports::free()?);
        let listeners = Listeners { secure: Some((sasl, mtls)), ..Listeners::direct()? };
        let lines = properties(&store, &authority.cert());
        let kafka = Kafka::start_with(setup, dir, listeners, &lines)?;
        let secured = Self {
            kafka,
            sasl: format!("localhost:{sasl}"),
            mtls: format!("localhost:{mtls}"),
            authority,
            identity,
        };
        // Two mechanisms in one call are refused.
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            secured.set_password(mechanism, PASSWORD)?;
        }
        Ok(secured)
    }

    /// Changes the user's password for one of the SCRAM mechanisms.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn set_password(&self, mechanism: &str, password: &str) -> Result<()> {
        let mut command = self.kafka.java("kafka.admin.ConfigCommand")?;
        command.args(["--bootstrap-server", &self.kafka.address(), "--alter"]);
        command.args(["--entity-type", "users", "--entity-name", USER, "--add-config"]);
        command.arg(format!("{mechanism}=[iterations=4096,password={password}]"));
        process::output(command).map(drop)
    }

    /// Kafka's own tool for permissions, with arguments as on a shell's line.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn acls(&self, arguments: &str) -> Result<()> {
        let class = if self.kafka.is_older_than_4() {
            "kafka.admin.AclCommand"
        } else {
            "org.apache.kafka.tools.AclCommand"
        };
        let mut command = self.kafka.java(class)?;
        command.args(["--bootstrap-server", &self.kafka.address()]);
        command.args(arguments.split_whitespace().map(|word| word.trim_matches('\'')));
        process::output(command).map(drop)
    }
}

fn properties(store: &Path, trusted: &Path) -> String {
    let module = "org.apache.kafka.common.security";
    let login = "listener.name.sasl_ssl";
    let scram = format!("{module}.scram.ScramLoginModule required;");
    format!(
        "ssl.keystore.type=PEM
ssl.keystore.location={}
ssl.truststore.type=PEM
ssl.truststore.location={}
listener.name.mtls.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER
{login}.scram-sha-256.sasl.jaas.config={scram}
{login}.scram-sha-512.sasl.jaas.config={scram}
{login}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";
{login}.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required;
{login}.connections.max.reauth.ms={LOGIN_MS_MAX}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
",
        store.display(),
        trusted.display()
    )
}
