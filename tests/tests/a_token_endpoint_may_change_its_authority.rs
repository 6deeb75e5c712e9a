//! An authorization server that speaks TLS gets another certificate, under another authority, while the node runs: tokens stop while
//! the node trusts the old authority only, and come again once the file that names whom to trust is replaced. Nobody restarts
//! anything.
//!
//! Setup: two authorities made here, a token endpoint, a node whose brokers are not there. Action: the endpoint's certificate is
//! replaced, then the node's file, then by rubbish. Expectation: tokens are issued exactly while the file names the authority in use,
//! and rubbish in it changes nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aqueduct_tests::support::node::{Node, Plan};
use aqueduct_tests::support::scratch::Scratch;
use aqueduct_tests::support::token::TokenEndpoint;
use aqueduct_tests::support::{peer, port, wait};

/// Makes the authorities `a.ca.pem` and `b.ca.pem`, and a pair for 127.0.0.1 under each: `a.pem` and `a.key`, `b.pem` and `b.key`.
const MAKE: &str = r#"
set -e
cd "$1"
for name in a b; do
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=authority $name" -keyout $name.ca.key -out $name.ca.pem
  openssl req -newkey rsa:2048 -nodes -subj "/CN=endpoint" -keyout $name.key -out $name.csr
  openssl x509 -req -days 3650 -in $name.csr -CA $name.ca.pem -CAkey $name.ca.key -CAcreateserial -out $name.pem \
    -extfile <(echo "subjectAltName=IP:127.0.0.1")
done
"#;

/// Tokens last so long; the next is fetched after three quarters of it.
const LIFETIME_S: u64 = 2;

#[test]
fn and_tokens_are_fetched_with_the_new_one() {
    let scratch = Scratch::new("authorities");
    let folder = scratch.path();
    peer::run(Command::new("bash").args(["-c", MAKE, "make"]).arg(folder));
    show(folder, "a");
    trust(folder, "a.ca.pem");
    let endpoint = TokenEndpoint::start_https(LIFETIME_S, &folder.join("shown.pem"), &folder.join("shown.key"));
    let node = start(folder, &endpoint);
    is_issued(&endpoint);

    show(folder, "b");
    says(&node, "not signed by a trusted authority");
    let before = endpoint.issued();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(endpoint.issued(), before, "the node asks a stranger for tokens");

    trust(folder, "b.ca.pem");
    is_issued(&endpoint);
    says(&node, "tokens are issued again");

    fs::write(folder.join("trusted.pem"), "rubbish").expect("it is writable");
    says(&node, "tls.cacertfile has changed and cannot be used for tokens");
    is_issued(&endpoint);
    assert_eq!(node.said().matches("cannot be used for tokens").count(), 1, "it is told once:\n{}", node.said());
}

/// The node's brokers are nobody: tokens are fetched all the same.
fn start(folder: &Path, endpoint: &TokenEndpoint) -> Node {
    let connector = format!(
        "authentication = {{ mechanism = \"oauthbearer\", token_endpoint = \"{}\", client_id = \"device\", \
         client_secret = \"token-secret\" }}\ntls = {{ enable = true, cacertfile = \"{}\" }}\n",
        endpoint.url(),
        folder.join("trusted.pem").display()
    );
    Plan::kafka(&format!("127.0.0.1:{}", port::free()), "t").connector(&connector).start()
}

/// The endpoint shows this certificate to those who connect from now on.
fn show(folder: &Path, name: &str) {
    for kind in ["pem", "key"] {
        replace(folder, &format!("{name}.{kind}"), &format!("shown.{kind}"));
    }
}

/// The file that the node trusts holds this authority from now on.
fn trust(folder: &Path, authority: &str) {
    replace(folder, authority, "trusted.pem");
}

/// Whole from one moment to the next, as those who replace certificates do it.
fn replace(folder: &Path, from: &str, to: &str) {
    fs::copy(folder.join(from), folder.join("next")).expect("a copy");
    fs::rename(folder.join("next"), folder.join(to)).expect("a rename");
}

/// One more token is issued; the longest pause between two tries is half a minute.
#[track_caller]
fn is_issued(endpoint: &TokenEndpoint) {
    let before = endpoint.issued();
    wait::until("a token", 40, || (endpoint.issued() > before).then_some(()));
}

#[track_caller]
fn says(node: &Node, text: &str) {
    wait::until(text, 20, || node.said().contains(text).then_some(()));
}
