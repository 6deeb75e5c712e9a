//! How a connector and its brokers trust each other: what the options become.

use super::*;

fn security(text: &str) -> Security {
    let text =
        format!("{}{text}\n[sinks.s]\nconnector = \"k\"\ntopic = \"t\"\nsource_topics = [\"#\"]\n", "[connectors.k]\n");
    let loaded = load(&text).unwrap_or_else(|problems| panic!("{}", rendered(problems.iter())));
    loaded.config.connectors[0].security.clone().expect("a Kafka connector")
}

#[test]
fn nothing_is_encrypted_or_proven_by_default() {
    let Security { authentication, tls } = security("");
    assert_eq!(authentication, Authentication::None);
    assert!(!tls.enable);
    assert_eq!((tls.verify, tls.depth, tls.reuse_sessions), (TlsVerify::Peer, 10, true));
    assert_eq!(tls.server_name, ServerNameIndication::Auto);
    assert_eq!((tls.versions.v1_2, tls.versions.v1_3), (true, true));
    assert_eq!(security("authentication = \"none\"").authentication, Authentication::None);
}

#[test]
fn confluent_presets_tls_and_plain() {
    let key = "authentication = { username = \"key\", password = \"secret\" }";
    let Security { authentication, tls } = security(&format!("type = \"confluent\"\n{key}"));
    let Authentication::Plain { username, password } = authentication else { panic!("{authentication:?}") };
    assert_eq!((username.as_str(), password.expose()), ("key", "secret"));
    assert!(tls.enable && tls.verify == TlsVerify::Peer && tls.ca_file.is_none());
    assert_eq!(tls.server_name, ServerNameIndication::Auto);
    let scram =
        "type = \"confluent\"\nauthentication = { mechanism = \"scram_sha_512\", username = \"u\", password = \"p\" }";
    assert!(matches!(security(scram).authentication, Authentication::Scram { sha_512: true, .. }));
}

#[test]
fn a_chain_may_be_allowed_to_have_up_to_255_certificates_more() {
    for good in [0, 10, 11, 255] {
        assert_eq!(security(&format!("tls.depth = {good}")).tls.depth, good);
    }
    let problems = load(&format!("{BASE}[connectors.x]\ntls.depth = 256\n")).expect_err("more than 255");
    let said = rendered(problems.iter());
    assert!(said.contains("tls.depth") && said.contains("255"), "{said}");
}

#[test]
fn tokens_have_scope_and_extensions() {
    let text = "authentication = { mechanism = \"oauthbearer\", token_endpoint = \"https://login.test/t\", client_id = \"c\", \
                client_secret = \"s\", scope = \"kafka\", extensions = { logicalCluster = \"lkc-1\" } }\ntls.enable = true";
    let Authentication::OauthBearer(client) = security(text).authentication else { panic!("another mechanism") };
    assert_eq!(client.token_endpoint.to_string(), "https://login.test:443/t");
    assert_eq!(client.scope.as_deref(), Some("kafka"));
    assert_eq!(client.extensions, [("logicalCluster".to_string(), "lkc-1".to_string())]);
}

#[test]
fn no_debug_shows_a_secret() {
    let user = "authentication = { mechanism = \"plain\", username = \"u\", password = \"hush-hush\" }\n";
    let key = "tls = { enable = true, password = \"hush-hush\" }";
    let text = format!("{BASE}[connectors.x]\n{user}{key}\n[nosuch]\n");
    let sources = Sources::file(Document::new("aqueduct.toml", &text));
    let problems = load(&text).expect_err("an unknown section");
    assert!(!format!("{sources:?}{problems:?}{}", rendered(problems.iter())).contains("hush"));
    assert!(!format!("{:?}", security(&format!("{user}{key}"))).contains("hush"));
}
