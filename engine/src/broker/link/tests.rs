//! Logins whose words a library finds, on a link with a broker played by hand.

use super::*;
use crate::log::DiskOp;
use crate::shard::ShardId;
use crate::shard::control::ControlMsg;
use crate::shard::io::{CloseReason, ConnKey, Recv};
use crate::shard::mesh::{MeshMsg, Moved};

const KEY: LinkKey = LinkKey { index: 7, generation: 3 };
const PATIENCE: Patience = Patience {
    connect_timeout_ms: 5_000,
    request_timeout_ms: 60_000,
    question_timeout_ms: 5_000,
    reconnect_delay_ms: 100,
};

/// What the link wants of the world.
#[derive(Debug, Default)]
struct World {
    requests: Vec<Request>,
    questions: Vec<LoginQuestion>,
    dropped: bool,
}

impl Io for World {
    fn dial(&mut self, _: &BrokerAddr) -> LinkKey {
        KEY
    }
    fn request(&mut self, link: LinkKey, request: Request) {
        assert_eq!(link, KEY);
        self.requests.push(request);
    }
    fn drop_link(&mut self, _: LinkKey) {
        self.dropped = true;
    }
    fn find_answer(&mut self, link: LinkKey, question: LoginQuestion) {
        assert_eq!((link, question.connector, &*question.host), (KEY, 2, "kafka-1"));
        self.questions.push(question);
    }
    fn recv(&mut self, _: ConnKey, _: &mut [u8]) -> Recv {
        Recv::Empty
    }
    fn send(&mut self, _: ConnKey, _: &[u8]) -> usize {
        0
    }
    fn close(&mut self, _: ConnKey, _: CloseReason) {}
    fn move_conn(&mut self, _: ConnKey, _: ShardId, _: Box<Moved>) {}
    fn mesh(&mut self, _: ShardId, _: MeshMsg) {}
    fn disk(&mut self, _: DiskOp) {}
    fn control(&mut self, _: ControlMsg) {}
}

/// A link and its world.
struct Rig {
    link: Link,
    world: World,
    now: Mono,
}

/// ApiVersions, version 3: Produce 0-9, Metadata 0-12, SaslHandshake 0-1, SaslAuthenticate 0-1.
const VERSIONS: &[u8] =
    &[0, 0, 5, 0, 0, 0, 0, 0, 9, 0, 0, 3, 0, 0, 0, 12, 0, 0, 17, 0, 0, 0, 1, 0, 0, 36, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
/// SaslHandshake: the mechanism is welcome.
const WELCOME: &[u8] = &[0, 0, 0, 0, 0, 0];

/// SaslAuthenticate: no error, these bytes, and how long the login lasts.
fn challenge(bytes: &[u8], lifetime_ms: u64) -> Vec<u8> {
    let mut out = vec![0, 0, 0xff, 0xff, 0, 0, 0, bytes.len() as u8];
    out.extend_from_slice(bytes);
    out.extend_from_slice(&lifetime_ms.to_be_bytes());
    out
}

fn words(bytes: &[u8], last: bool) -> Option<LoginAnswer> {
    Some(LoginAnswer { bytes: bytes.to_vec(), last })
}

impl Rig {
    /// The socket stands, and the broker has said which versions it speaks.
    fn connected() -> Self {
        let mut rig = Self { link: Link::default(), world: World::default(), now: Mono(1_000_000_000) };
        let to = BrokerAddr { connector: 2, host: "kafka-1".to_string(), port: 9092 };
        rig.link.dial(rig.now, &to, &PATIENCE, &mut rig.world);
        rig.link.on_up(rig.now, "me", Some(Exchange::outside(Mechanism::Gssapi)), &mut rig.world);
        rig.hear(VERSIONS);
        rig
    }

    /// Logged in for so long.
    fn ready(lifetime_ms: u64) -> Self {
        let mut rig = Self::connected();
        rig.hear(WELCOME);
        rig.log_in(lifetime_ms);
        rig
    }

    /// The library and the broker say what they have to, from the question for the first words.
    fn log_in(&mut self, lifetime_ms: u64) {
        assert_eq!(self.world.questions.pop().expect("a question").question, Question::Begin);
        self.say(words(b"ticket", false));
        self.prove(lifetime_ms);
    }

    /// As [`log_in`](Self::log_in), from the first words on.
    fn prove(&mut self, lifetime_ms: u64) {
        self.hear(&challenge(b"proof", 0));
        assert_eq!(self.world.questions.pop().expect("a question").question, Question::Answer(b"proof".to_vec()));
        self.say(words(b"choice", true));
        self.hear(&challenge(b"", lifetime_ms));
        assert!(self.link.takes_questions() && !self.link.awaits_answer());
    }

    /// The broker answers the oldest request.
    fn hear(&mut self, rest: &[u8]) {
        let request = self.world.requests.remove(0);
        let body = [&request.correlation.to_be_bytes(), rest].concat();
        self.link.on_response(self.now, request.correlation, &body, &mut self.world).expect("a broker that is well");
    }

    #[track_caller]
    fn say(&mut self, answer: Option<LoginAnswer>) {
        self.link.on_answer(self.now, answer, &mut self.world).expect("an answer");
    }

    fn last_words(&self) -> &[u8] {
        &self.world.requests.last().expect("a request").head
    }
}

#[test]
fn the_library_is_asked_when_the_broker_welcomes_the_mechanism() {
    let mut rig = Rig::connected();
    assert!(rig.world.questions.is_empty() && rig.last_words().ends_with(b"GSSAPI"));
    rig.hear(WELCOME);
    assert!(rig.link.awaits_answer() && rig.world.requests.is_empty(), "nothing is said before there is an answer");
    rig.log_in(0);
    assert_eq!(rig.link.login_at(), None, "the login lasts for ever");
}

#[test]
fn requests_go_on_until_there_is_something_to_log_in_again_with() {
    let mut rig = Rig::ready(10_000);
    let due = rig.link.login_at().expect("the login ends");
    rig.now = due;
    rig.link.prepare_login(&mut rig.world);
    assert!(rig.link.takes_requests(rig.now) && rig.link.login_at().is_none() && !rig.link.awaits_answer());
    assert_eq!(rig.world.questions.pop().expect("a question").question, Question::Begin);
    rig.say(words(b"ticket", false));
    assert!(!rig.link.takes_questions(), "the broker would take it for a part of the login");
    rig.hear(WELCOME);
    assert!(rig.last_words().ends_with(b"ticket") && rig.world.questions.is_empty());
    rig.prove(10_000);
    assert!(rig.link.login_at().expect("this one ends as well") > due);
}

#[test]
fn without_an_answer_the_login_that_stands_is_used_to_its_end() {
    let mut rig = Rig::ready(60_000);
    rig.link.prepare_login(&mut rig.world);
    assert_eq!(rig.link.on_answer(rig.now, None, &mut rig.world), Err(Unanswered::Later));
    assert!(rig.link.takes_requests(rig.now) && !rig.world.dropped);
    assert_eq!(rig.link.login_at(), Some(rig.now.plus_ms(LIBRARY_PAUSE_MS)), "it is asked again");
}

#[test]
fn without_an_answer_a_new_link_is_of_no_use() {
    let mut rig = Rig::connected();
    rig.hear(WELCOME);
    assert_eq!(rig.link.on_answer(rig.now, None, &mut rig.world), Err(Unanswered::Lost));
    // Nor is one that has begun to log in again.
    let mut rig = Rig::ready(10_000);
    rig.link.prepare_login(&mut rig.world);
    rig.say(words(b"ticket", false));
    rig.hear(WELCOME);
    rig.hear(&challenge(b"proof", 0));
    assert_eq!(rig.link.on_answer(rig.now, None, &mut rig.world), Err(Unanswered::Lost));
}

#[test]
fn a_library_that_says_nothing_has_as_long_as_a_connection_may_take() {
    let mut rig = Rig::connected();
    rig.hear(WELCOME);
    let patience = PATIENCE;
    assert_eq!(rig.link.silent_at(&patience), Some(Mono(1_000_000_000).plus_ms(5_000)));
    rig.now = rig.now.plus_ms(5_000);
    assert!(rig.link.close_if_silent(rig.now, &patience, &mut rig.world) && rig.world.dropped);
    // What it says then is for nobody.
    rig.say(words(b"ticket", false));
    assert!(rig.world.requests.is_empty());
    assert_eq!(rig.link.on_answer(rig.now, None, &mut rig.world), Ok(()));
}
