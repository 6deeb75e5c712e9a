//! Scripts by hand, one for each promise, with what must come of them wherever they are played.

use super::{Act, Role, Script, TOO_LARGE_LEN};

/// A script with a name, and lines that must be part of its outcome.
#[derive(Debug)]
pub struct Written {
    /// What it is about.
    pub name: &'static str,
    /// The script.
    pub script: Script,
    /// Lines of its outcome; `?` stands for the partition to which a key hashes.
    pub lines: &'static [&'static str],
}

impl Written {
    /// Its lines that an outcome does not have.
    pub fn missing_in(&self, outcome: &[String]) -> Vec<&'static str> {
        let has = |wanted: &str| outcome.iter().any(|line| is_line(wanted, line));
        self.lines.iter().copied().filter(|wanted| !has(wanted)).collect()
    }
}

fn is_line(wanted: &str, line: &str) -> bool {
    match wanted.split_once('?') {
        None => wanted == line,
        Some((before, after)) => {
            let partition = line.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            partition.is_some_and(|partition| partition.parse::<u32>().is_ok())
        }
    }
}

const V3: Role = Role { v5: false, aliases: false };
const V5: Role = Role { v5: true, aliases: false };
const ALIASES: Role = Role { v5: true, aliases: true };

/// A clean start whose session ends with its connection.
const CLEAN: Act = Act::Connect { clean: true, expiry_s: 0 };
/// Back to the session there was, which is kept.
const BACK: Act = Act::Connect { clean: false, expiry_s: 3600 };

/// Index of the topic that two sinks take.
const BOTH: usize = 2;
/// Index of the topic that no sink takes.
const UNHEARD: usize = 3;

const fn publish(qos: u8, topic: usize, len: usize, count: u32) -> Act {
    Act::Publish { qos, topic, len, count }
}

const fn subscribe(filter: &'static str, qos: u8) -> Act {
    Act::Subscribe { filter, qos }
}

/// All of them, numbered from 0.
pub fn written() -> Vec<Written> {
    let mut all = Vec::new();
    let mut add = |name, roles: &[Role], acts: Vec<(usize, Act)>, lines| {
        let script = Script { number: all.len() as u16, roles: roles.to_vec(), acts };
        all.push(Written { name, script, lines });
    };
    publishing(&mut add);
    sessions(&mut add);
    delivering(&mut add);
    ends(&mut add);
    sizes(&mut add);
    all
}

type Add<'a> = dyn FnMut(&'static str, &[Role], Vec<(usize, Act)>, &'static [&'static str]) + 'a;

fn publishing(add: &mut Add<'_>) {
    add(
        "acknowledgements keep the order of each lane",
        &[V5],
        vec![(0, CLEAN), (0, publish(1, 0, 16, 3)), (0, publish(2, 1, 40, 2)), (0, publish(1, BOTH, 16, 2))],
        &[
            "c0/1 connack 00 new session",
            "c0/1 puback 1:00 2:00 3:00 6:00 7:00",
            "c0/1 pubrec 4:00 5:00",
            "c0/1 pubcomp 4:00 5:00",
            "t0-? from c0 0(16) 1(16) 2(16) 3(40) 4(40) 5(16) 6(16)",
            "t1-? from c0 5(16) 6(16)",
        ],
    );
    add(
        "QoS 0 is stored in its place and not acknowledged",
        &[V3],
        vec![(0, CLEAN), (0, publish(0, 0, 16, 2)), (0, publish(1, 0, 3000, 1)), (0, publish(0, BOTH, 16, 1))],
        &["c0/1 puback 1:00", "t0-? from c0 0(16) 1(16) 2(3000) 3(16)", "t1-? from c0 3(16)"],
    );
    add(
        "only where nobody takes it is it said that nobody does",
        &[V5, V5, V3],
        vec![
            (0, CLEAN),
            (1, CLEAN),
            (2, CLEAN),
            (0, publish(1, UNHEARD, 16, 1)),
            (0, publish(2, UNHEARD, 16, 1)),
            (2, publish(1, UNHEARD, 16, 1)),
            (0, Act::Settle),
            (1, subscribe("out/{}/#", 1)),
            (0, publish(1, UNHEARD, 16, 1)),
        ],
        &["c0/1 puback 1:10 3:00", "c0/1 pubrec 2:10", "c1/1 from c0 unheard 2q1", "c2/1 puback 1:00"],
    );
    add(
        "an alias stands for its topic, on its connection",
        &[ALIASES],
        vec![
            (0, CLEAN),
            (0, publish(1, 0, 16, 2)),
            (0, publish(2, BOTH, 16, 2)),
            (0, Act::Settle),
            (0, BACK),
            (0, publish(1, BOTH, 16, 2)),
        ],
        &[
            "c0/1 disconnect 8e closed",
            "t0-? from c0 0(16) 1(16) 2(16) 3(16) 4(16) 5(16)",
            "t1-? from c0 2(16) 3(16) 4(16) 5(16)",
        ],
    );
}

fn sessions(add: &mut Add<'_>) {
    for role in [V3, V5] {
        add(
            "QoS 2 makes one record, however often it is sent to its session",
            &[role],
            vec![
                (0, BACK),
                (0, publish(2, 0, 16, 3)),
                (0, Act::Cut),
                (0, BACK),
                (0, Act::HoldReleases(true)),
                (0, Act::Resend),
                (0, Act::Settle),
                (0, Act::Repeat),
                (0, Act::Settle),
                (0, Act::Cut),
                (0, BACK),
                (0, Act::Resend),
                (0, Act::Settle),
                (0, Act::HoldReleases(false)),
            ],
            &[
                "c0/1 cut",
                "c0/2 cut",
                "c0/3 connack 00 session present",
                "c0/3 pubcomp 1:00 2:00 3:00",
                "t0-? from c0 0(16) 1(16) 2(16)",
            ],
        );
        add(
            "without its session a QoS 2 publication is a new one",
            &[role],
            vec![(0, CLEAN), (0, publish(2, 0, 16, 2)), (0, Act::Cut), (0, CLEAN), (0, Act::Resend)],
            &["c0/2 connack 00 new session", "c0/2 pubrec 1:00 2:00", "t0-? from c0 0(16) 1(16) 0(16) 1(16)"],
        );
        add(
            "a QoS 1 publication that is sent again is stored again, with DUP or without",
            &[role],
            vec![(0, BACK), (0, publish(1, BOTH, 16, 2)), (0, Act::Cut), (0, BACK), (0, Act::Resend)],
            &["c0/2 puback 1:00 2:00", "t0-? from c0 0(16) 1(16) 0(16) 1(16)", "t1-? from c0 0(16) 1(16) 0(16) 1(16)"],
        );
        add(
            "a session lives as long as was asked for",
            &[role],
            vec![
                (0, CLEAN),
                (0, Act::Disconnect),
                (0, BACK),
                (0, Act::Disconnect),
                (0, BACK),
                (0, Act::Cut),
                (0, CLEAN),
            ],
            &[
                "c0/1 connack 00 new session",
                "c0/2 connack 00 new session",
                "c0/3 connack 00 session present",
                "c0/4 connack 00 new session",
            ],
        );
    }
    add(
        "who comes with the same name takes over, and is the only one",
        &[V5, V3],
        vec![(0, BACK), (1, BACK), (0, BACK), (1, BACK), (0, publish(1, 0, 16, 1)), (1, publish(1, 0, 16, 1))],
        &["c0/1 disconnect 8e closed", "c0/2 connack 00 session present", "c1/1 closed", "c1/2 puback 1:00"],
    );
}

fn delivering(add: &mut Add<'_>) {
    add(
        "subscribers hear each publisher in order, at the lower quality of service",
        &[V5, V3, V3, V5],
        vec![
            (0, CLEAN),
            (1, CLEAN),
            (2, CLEAN),
            (3, CLEAN),
            (0, subscribe("in/{}/#", 0)),
            (1, subscribe("in/{}/a", 1)),
            (2, subscribe("in/{}/b/+", 2)),
            (3, publish(0, 0, 16, 2)),
            (3, publish(1, 0, 16, 2)),
            (3, publish(2, 0, 16, 2)),
            (0, publish(2, BOTH, 400, 6)),
        ],
        &[
            "c0/1 suback 1:00",
            "c0/1 from c3 a 0q0 1q0 2q0 3q0 4q0 5q0",
            "c1/1 from c3 a 0q0 1q0 2q1 3q1 4q1 5q1",
            "c2/1 from c0 b/x 0q2 1q2 2q2 3q2 4q2 5q2",
        ],
    );
    add(
        "one that is away hears later what was at QoS 1 and 2",
        &[V5, V3],
        vec![
            (0, BACK),
            (0, subscribe("in/{}/#", 2)),
            (0, Act::Disconnect),
            (1, CLEAN),
            (1, publish(1, 0, 16, 15)),
            (1, publish(2, BOTH, 16, 5)),
            (1, Act::Cut),
            (0, BACK),
            (0, Act::Settle),
        ],
        &[
            "c0/2 from c1 a 0q1 1q1 2q1 3q1 4q1 5q1 6q1 7q1 8q1 9q1 10q1 11q1 12q1 13q1 14q1",
            "c0/2 from c1 b/x 15q2 16q2 17q2 18q2 19q2",
        ],
    );
    add(
        "what was not answered is sent again, and says so",
        &[V3, V5],
        vec![
            (0, BACK),
            (1, BACK),
            (0, subscribe("in/{}/a", 1)),
            (1, subscribe("in/{}/a", 2)),
            (0, Act::Mute(true)),
            (1, Act::Mute(true)),
            (0, publish(2, 0, 16, 4)),
            (0, Act::Settle),
            (0, Act::Cut),
            (1, Act::Cut),
            (0, Act::Mute(false)),
            (1, Act::Mute(false)),
            (0, BACK),
            (1, BACK),
            (1, publish(1, 0, 16, 1)),
        ],
        &["c0/2 from c0 a 0q1d 1q1d 2q1d 3q1d", "c1/2 from c0 a 0q2d 1q2d 2q2d 3q2d", "c1/2 from c1 a 0q1"],
    );
    add(
        "nothing comes after the end of a subscription, and once however many filters match",
        &[V5, V5],
        vec![
            (0, CLEAN),
            (1, CLEAN),
            (0, subscribe("in/{}/#", 1)),
            (0, subscribe("in/{}/+", 2)),
            (1, publish(1, 0, 16, 2)),
            (0, Act::Settle),
            (0, Act::Unsubscribe { filter: "in/{}/#" }),
            (1, publish(1, 0, 16, 1)),
            (0, Act::Settle),
            (0, Act::Unsubscribe { filter: "in/{}/+" }),
            (1, publish(1, 0, 16, 1)),
            (1, Act::Settle),
        ],
        &["c0/1 from c1 a 0q1 1q1 2q1", "c0/1 unsuback 3 4"],
    );
}

fn ends(add: &mut Add<'_>) {
    for kind in 0..crate::wire::RUBBISH {
        add(
            "who breaks the protocol is told so if it can be, and closed; others go on",
            &[V5, V3, V3],
            vec![
                (0, BACK),
                (1, BACK),
                (2, CLEAN),
                (0, publish(1, 0, 16, 1)),
                (0, Act::Settle),
                (0, Act::Rubbish(kind)),
                (1, Act::Rubbish(kind)),
                (2, publish(2, 0, 16, 1)),
                (2, Act::Settle),
                (0, BACK),
                (1, BACK),
            ],
            &["c0/1 puback 1:00", "c0/2 connack 00 session present", "c1/1 closed", "c2/1 pubcomp 1:00"],
        );
    }
    add(
        "who has finished sending has sent it",
        &[V3, V5],
        vec![
            (0, CLEAN),
            (1, BACK),
            (0, publish(0, 0, 3000, 9)),
            (1, publish(1, BOTH, 16, 9)),
            (0, Act::Cut),
            (1, Act::Cut),
        ],
        &[
            "t0-? from c0 0(3000) 1(3000) 2(3000) 3(3000) 4(3000) 5(3000) 6(3000) 7(3000) 8(3000)",
            "t1-? from c1 0(16) 1(16) 2(16) 3(16) 4(16) 5(16) 6(16) 7(16) 8(16)",
        ],
    );
    add(
        "a ping is answered in between",
        &[V3],
        vec![(0, CLEAN), (0, publish(1, 0, 16, 1)), (0, Act::Ping), (0, publish(1, 0, 16, 1)), (0, Act::Ping)],
        &["c0/1 puback 1:00 2:00", "c0/1 pingresp 3"],
    );
}

fn sizes(add: &mut Add<'_>) {
    add(
        "a record that is too large is refused by name and takes no other with it",
        &[V5],
        vec![
            (0, CLEAN),
            (0, publish(1, 0, 16, 2)),
            (0, publish(1, 0, TOO_LARGE_LEN, 1)),
            (0, publish(2, BOTH, TOO_LARGE_LEN, 1)),
            (0, publish(0, 0, TOO_LARGE_LEN, 1)),
            (0, publish(1, 0, 16, 2)),
            (0, publish(2, BOTH, 16, 1)),
        ],
        &[
            "c0/1 puback 1:00 2:00 3:97 5:00 6:00",
            "c0/1 pubrec 4:97 7:00",
            "t0-? from c0 0(16) 1(16) 5(16) 6(16) 7(16)",
            "t1-? from c0 7(16)",
        ],
    );
    add(
        "an MQTT 3.1.1 client is closed for such a record: no answer can say no",
        &[V3],
        vec![(0, CLEAN), (0, publish(1, 0, TOO_LARGE_LEN, 1)), (0, Act::Gone), (0, CLEAN), (0, publish(1, 0, 16, 1))],
        &["c0/1 closed", "c0/2 puback 2:00", "t0-? from c0 1(16)"],
    );
    // Kafka counts the whole batch, ours of one record here: 78 bytes and the payload.
    let mut acts = vec![(0, CLEAN)];
    for len in super::MESSAGE_BYTES_MAX as usize - 84..super::MESSAGE_BYTES_MAX as usize - 72 {
        acts.extend([(0, publish(1, 0, len, 1)), (0, Act::Settle)]);
    }
    add("the same byte is the first too many", &[V5], acts, &[]);
}
