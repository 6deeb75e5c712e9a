//! Links through TLS against a server of rustls: what is sent arrives, and who may not be trusted is not.
//!
//! The certificates of `certificates/` were made with openssl and last a hundred years: `server` and `client` are signed by `ca`,
//! for localhost, kafka.example.org and 127.0.0.1; nothing is signed by `other`.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use aqueduct::config::{Document, Loaded, Machine, Sources, TlsOptions};
use aqueduct::driver::tls::Client;
use aqueduct::driver::{Letter, Order, SocketOptions};
use aqueduct::shard::io::BrokerAddr;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::links::{Call, Told, accept, broker, request, response};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/driver/certificates").join(name)
}

/// The options of a connector with `tls = { enable = true, … }`.
fn options(more: &str) -> TlsOptions {
    let ca = file("ca.pem").display().to_string();
    let ca = if more.contains("cacertfile") { String::new() } else { format!("cacertfile = \"{ca}\", ") };
    let text = format!(
        "[connectors.k]\ntls = {{ {ca}enable = true{}{more} }}\n[sinks.s]\nconnector = \"k\"\ntopic = \"t\"\n",
        if more.is_empty() { "" } else { ", " }
    );
    let machine = Machine { memory_bytes: 1 << 30, cores: 1, descriptors: 1024 };
    let loaded = Loaded::load(&Sources::file(Document::new("test.toml", &text)), &machine);
    let config = loaded.unwrap_or_else(|problems| panic!("{problems:?}")).config;
    config.connectors[0].security.clone().expect("a Kafka connector").tls
}

fn client(more: &str) -> Arc<Client> {
    Arc::new(Client::new(&options(more)).expect("files that are in order"))
}

fn through(client: Arc<Client>) -> SocketOptions {
    SocketOptions { tls: Some(client), ..SocketOptions::default() }
}

/// What a server wants and speaks.
#[derive(Default)]
struct Server {
    wants_certificate: bool,
    only_v1_2: bool,
    /// Shows so many certificates more, which are not its own.
    others: usize,
    /// Remembers sessions from one connection to the next.
    remembering: Option<Arc<ServerConfig>>,
}

impl Server {
    fn config(&self) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).expect("a certificate")).expect("an authority");
        let provider = Arc::new(ring::default_provider());
        let versions: &[_] = if self.only_v1_2 { &[&rustls::version::TLS12] } else { rustls::ALL_VERSIONS };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = builder.expect("versions");
        let builder = match self.wants_certificate {
            true => builder.with_client_cert_verifier(verifier.build().expect("a verifier")),
            false => builder.with_no_client_auth(),
        };
        let shown = std::iter::once("server.pem").chain(std::iter::repeat_n("client.pem", self.others));
        let chain = shown.map(|name| CertificateDer::from_pem_file(file(name)).expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
        Arc::new(builder.with_single_cert(chain, key).expect("a pair"))
    }

    /// Takes one connection; the handshake happens with the first bytes read.
    fn take(&self, listener: &TcpListener) -> StreamOwned<ServerConnection, TcpStream> {
        let socket = accept(listener);
        let config = self.remembering.clone().unwrap_or_else(|| self.config());
        StreamOwned::new(ServerConnection::new(config).expect("a session"), socket)
    }
}

/// A link to a server that answers one request; how it went, the name that was asked for, the suite, and whether an earlier
/// session was taken up again.
fn one_answer(server: Server, client: Arc<Client>) -> (Told, Option<String>, String, bool) {
    one_answer_of("127.0.0.1", server, client)
}

/// The same of a server that is dialled by this name or address of the loopback interface.
fn one_answer_of(host: &str, server: Server, client: Arc<Client>) -> (Told, Option<String>, String, bool) {
    let at: IpAddr = host.parse().unwrap_or(Ipv4Addr::LOCALHOST.into());
    let listener = TcpListener::bind((at, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let to = BrokerAddr { connector: 0, host: host.to_owned(), port: address.port() };
    let (asked, wire) = request(7, &[100], true);
    let mut call = Call::new(to, vec![asked], false, through(client));
    if host.parse::<IpAddr>().is_err() {
        let (_, letter) = call.rig.letters.blocking_recv().expect("a letter");
        let Letter::LookUp { link, .. } = letter else { panic!("unexpected: {letter:?}") };
        call.rig.order(0, Order::Resolved { link, result: Ok(vec![address]) });
    }
    let (tell, told) = mpsc::channel();
    let serving = std::thread::spawn(move || {
        let mut stream = server.take(&listener);
        let mut got = vec![0; wire.len()];
        let ended = stream.read_exact(&mut got);
        let name = stream.conn.server_name().map(str::to_owned);
        let suite = stream.conn.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        let resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        let _ = tell.send((name, suite.unwrap_or_default(), resumed));
        if ended.is_ok() {
            assert_eq!(got, wire);
            stream.write_all(&response(7, b"ok")).expect("sends");
            stream.flush().expect("sends");
            // Until the link is dropped.
            let _ = stream.read(&mut [0; 1]);
        }
    });
    let mut last = call.next();
    if last == Told::Up {
        last = call.next();
    }
    let (name, suite, resumed) = told.recv_timeout(Duration::from_secs(10)).expect("the server has taken a connection");
    drop(call);
    serving.join().expect("the server is content");
    (last, name, suite, resumed)
}

#[track_caller]
fn answered(server: Server, more: &str) -> (Option<String>, String) {
    let (told, name, suite, _) = one_answer(server, client(more));
    assert_eq!(told, Told::Response { correlation: 7, body: b"ok".to_vec(), batches: vec![0] }, "{more}");
    (name, suite)
}

#[track_caller]
fn refused(server: Server, more: &str, reason: &str) {
    refused_of("127.0.0.1", server, more, reason);
}

#[track_caller]
fn refused_of(host: &str, server: Server, more: &str, reason: &str) {
    match one_answer_of(host, server, client(more)).0 {
        Told::Down { why, unanswered } => {
            assert!(why.contains(reason), "{more}: {why}");
            assert!(unanswered.is_empty() || unanswered == [7], "{unanswered:?}");
        }
        other => panic!("{more}: {other:?}"),
    }
}

#[test]
fn both_versions_carry_requests_and_answers() {
    answered(Server::default(), "");
    answered(Server { only_v1_2: true, ..Server::default() }, "");
    answered(Server::default(), "versions = [\"tlsv1.2\"]");
    refused(Server { only_v1_2: true, ..Server::default() }, "versions = [\"tlsv1.3\"]", "ProtocolVersion");
}

#[test]
fn suites_are_those_that_were_asked_for() {
    for (asked, expected) in [
        ("TLS_CHACHA20_POLY1305_SHA256", "TLS13_CHACHA20_POLY1305_SHA256"),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ] {
        assert_eq!(answered(Server::default(), &format!("ciphers = \"{asked}\"")).1, expected);
    }
}

#[test]
fn a_server_has_to_prove_who_it_is() {
    let other = format!("cacertfile = \"{}\"", file("other.pem").display());
    refused(Server::default(), &other, "not signed by a trusted authority; set tls.cacertfile");
    answered(Server::default(), "verify = \"verify_none\"");
    let name = |name: &str| format!("server_name_indication = \"{name}\"");
    assert_eq!(answered(Server::default(), &name("kafka.example.org")).0.as_deref(), Some("kafka.example.org"));
    // An address is no name that could be asked for, and stands in the certificate all the same.
    assert_eq!(answered(Server::default(), &name("auto")).0, None);
    assert_eq!(answered(Server::default(), &name("disable")).0, None);
    refused(Server::default(), &name("elsewhere.example.org"), "not for elsewhere.example.org");
}

/// RFC 6066, section 3: a name is asked for, an address never.
#[test]
fn a_name_is_told_to_the_server_unless_that_is_off() {
    for (more, dialled, told) in [
        ("", "kafka.example.org", Some("kafka.example.org")),
        ("server_name_indication = \"auto\"", "kafka.example.org", Some("kafka.example.org")),
        ("server_name_indication = \"auto\"", "127.0.0.1", None),
        ("server_name_indication = \"disable\"", "kafka.example.org", None),
        ("server_name_indication = \"kafka.example.org\"", "127.0.0.1", Some("kafka.example.org")),
    ] {
        let (last, name, ..) = one_answer_of(dialled, Server::default(), client(more));
        assert!(matches!(last, Told::Response { .. }), "{more} {dialled}: {last:?}");
        assert_eq!(name.as_deref(), told, "{more} {dialled}");
    }
}

/// The certificate is trusted, and bears neither the name nor the address that was dialled. Whether the name is told to the server
/// has nothing to do with that.
#[test]
fn a_server_has_to_be_the_one_that_was_dialled() {
    for host in ["kafka.test", "127.0.0.2"] {
        for more in ["", "server_name_indication = \"auto\"", "server_name_indication = \"disable\""] {
            refused_of(host, Server::default(), more, &format!("not for {host}"));
        }
        let another = client("server_name_indication = \"kafka.example.org\"");
        let (last, ..) = one_answer_of(host, Server::default(), another);
        assert!(matches!(last, Told::Response { .. }), "nothing else is wrong with it: {last:?}");
    }
}

#[test]
fn a_chain_may_be_so_long() {
    let others = |others| Server { others, ..Server::default() };
    answered(others(0), "depth = 0");
    answered(others(1), "depth = 1");
    refused(others(1), "depth = 0", "1 certificates stand between the broker's own and a trusted one, tls.depth is 0");
    // Ten unless more are wanted.
    answered(others(10), "");
    refused(others(11), "", "11 certificates stand between the broker's own and a trusted one, tls.depth is 10");
    answered(others(11), "depth = 11");
    answered(others(11), "depth = 255");
}

#[test]
fn sessions_are_taken_up_again_if_that_is_wanted() {
    for only_v1_2 in [false, true] {
        for (more, wanted) in [("reuse_sessions = true", true), ("reuse_sessions = false", false)] {
            let remembering = Some(Server { only_v1_2, ..Server::default() }.config());
            let client = client(more);
            let resumed = [(); 2].map(|()| {
                let server = Server { remembering: remembering.clone(), ..Server::default() };
                one_answer(server, Arc::clone(&client)).3
            });
            assert_eq!(resumed, [false, wanted], "{more}, TLS 1.2 only: {only_v1_2}");
        }
    }
}

#[test]
fn a_server_may_want_to_know_who_we_are() {
    let server = || Server { wants_certificate: true, ..Server::default() };
    refused(server(), "", "set tls.certfile and tls.keyfile");
    let pair =
        |key: &str| format!("certfile = \"{}\", keyfile = \"{}\"", file("client.pem").display(), file(key).display());
    answered(server(), &pair("client.key"));
    answered(server(), &format!("{}, password = \"sesame\"", pair("client-encrypted.key")));
    for (more, reason) in [
        (format!("{}, password = \"wrong\"", pair("client-encrypted.key")), "tls.password is wrong"),
        (pair("client-encrypted.key"), "set tls.password"),
        (pair("server.key"), "do not belong together"),
        (pair("nowhere.key"), "cannot be read"),
        (pair("client.pem"), "holds no private key"),
    ] {
        let why = Client::new(&options(&more)).expect_err(reason);
        assert!(why.contains(reason), "{why}");
    }
}

/// Far more than the cipher queue and the socket buffers hold.
#[test]
fn long_requests_arrive_whole_and_in_order() {
    let shapes: Vec<(i32, Vec<usize>, bool)> = (0..100)
        .map(|i| (i, (0..i as usize % 5).map(|j| (i as usize * 977 + j * 31_337) % 90_000).collect(), i % 3 != 0))
        .collect();
    let (requests, wires): (Vec<_>, Vec<_>) =
        shapes.iter().map(|(c, sizes, answered)| request(*c, sizes, *answered)).unzip();
    let (listener, to) = broker();
    let small = SocketOptions { sndbuf_bytes: Some(128 * 1024), ..through(client("")) };
    let call = Call::new(to, requests, true, small);
    let mut stream = Server::default().take(&listener);
    let expected = wires.concat();
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).expect("reads");
    assert!(got == expected, "the broker reads what the requests spell");
    let answers: Vec<u8> =
        shapes.iter().filter(|(_, _, answered)| *answered).flat_map(|(c, _, _)| response(*c, &[b'x'; 9_000])).collect();
    stream.write_all(&answers).expect("sends");
    assert_eq!(call.next(), Told::Up);
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..shapes.len() {
        match call.next() {
            Told::Sent { correlation, .. } => sent.push(correlation),
            Told::Response { correlation, body, .. } => {
                assert_eq!(body.len(), 9_000);
                answered.push(correlation);
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert!(sent.is_sorted() && sent.iter().all(|c| c % 3 == 0), "{sent:?}");
    assert!(answered.is_sorted() && answered.iter().all(|c| c % 3 != 0), "{answered:?}");
    drop(stream);
    assert!(matches!(call.next(), Told::Down { unanswered, .. } if unanswered.is_empty()));
}

#[test]
fn what_is_no_tls_is_told_apart() {
    let cases: [(&[u8], &str); 2] =
        [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS"), (b"", "does it speak TLS")];
    for (said, reason) in cases {
        let (listener, to) = broker();
        let call = Call::new(to, vec![], false, through(client("")));
        let mut socket = accept(&listener);
        socket.write_all(said).expect("sends");
        let _ = socket.read(&mut [0; 4096]);
        drop(socket);
        match call.next() {
            Told::Down { why, .. } => assert!(why.contains(reason), "{why}"),
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[test]
fn a_silent_server_is_given_up_within_the_connect_timeout() {
    let (listener, to) = broker();
    let quick = SocketOptions { connect_timeout_ms: 200, ..through(client("")) };
    let call = Call::new(to, vec![], false, quick);
    let _silent = accept(&listener);
    assert_eq!(call.next(), Told::Down { unanswered: vec![], why: "the TLS handshake timed out".to_string() });
}

/// New connections use new files; a change that cannot be used is told once, and the old files go on.
#[test]
fn files_may_change_while_it_runs() {
    let folder = std::env::temp_dir().join(format!("aqueduct-tls-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let ca = folder.join("ca.pem");
    fs::copy(file("other.pem"), &ca).expect("a copy");
    let client = client(&format!("cacertfile = \"{}\"", ca.display()));
    assert_eq!(client.refresh(), Ok(false));
    assert!(matches!(one_answer(Server::default(), Arc::clone(&client)).0, Told::Down { .. }));
    fs::write(&ca, "not PEM").expect("writes");
    assert!(client.refresh().expect_err("it cannot be used").contains("holds no certificate"));
    assert_eq!(client.refresh(), Ok(false), "it is told once");
    fs::copy(file("ca.pem"), &ca).expect("a copy");
    assert_eq!(client.refresh(), Ok(true));
    assert!(matches!(one_answer(Server::default(), Arc::clone(&client)).0, Told::Response { .. }));
    let days = client.certificate_days();
    assert_eq!(days.iter().map(|(of, _)| *of).collect::<Vec<_>>(), ["authority", "broker"]);
    assert!(days.iter().all(|(_, days)| (30_000..40_000).contains(days)), "{days:?}");
    fs::remove_dir_all(&folder).expect("our own folder");
}
