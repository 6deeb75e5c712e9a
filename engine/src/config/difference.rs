//! What differs between the configuration in force and one that is to replace it, option by option.

use super::option::{Change, Section};
use super::problem::{Place, Problem};
use super::{Loaded, connector, http, listener, log, mqtt, node, sink};

/// One option, or one object, that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `sinks.main.linger`, or `sinks.main` of a whole object.
    pub path: String,
    /// When a change of it takes effect.
    pub change: Change,
    /// What of it differs.
    pub what: What,
    slot: (&'static str, Option<String>, Option<&'static str>),
}

/// How something differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It has another value, as TOML.
    Value {
        /// The value in force.
        from: String,
        /// The value that is wanted.
        to: String,
    },
    /// The object is new.
    Added,
    /// The object is there no more.
    Removed,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.what {
            What::Value { from, to } if from == "(secret)" && to == "(secret)" => {
                write!(f, "{}: another secret", self.path)
            }
            // The same words, and another meaning: what an option is may follow from others.
            What::Value { from, to } if from == to => write!(f, "{}: {to}, which follows from others", self.path),
            What::Value { from, to } => write!(f, "{}: {from} → {to}", self.path),
            What::Added => write!(f, "{}: added", self.path),
            What::Removed => write!(f, "{}: removed", self.path),
        }
    }
}

/// Everything that differs, in the order of the sections.
pub fn differences(old: &Loaded, new: &Loaded) -> Vec<Difference> {
    let mut found = Found { old, new, list: Vec::new() };
    let (from, to) = (&old.config, &new.config);
    found.section(&node::SECTION, None, from.node.differing(&to.node));
    found.objects(&listener::SECTION, &from.listeners, &to.listeners, |l| &l.name, |a, b| a.differing(b));
    found.section(&mqtt::SECTION, None, from.mqtt.differing(&to.mqtt));
    found.objects(&connector::SECTION, &from.connectors, &to.connectors, |c| &c.name, |a, b| a.differing(b));
    // What sinks name are positions, which another order of the file changes.
    let names = |config: &super::Config, sink: &sink::Sink| {
        let connector = config.connectors.get(sink.connector).map(|c| c.name.clone());
        let dead_letter = sink.dead_letter.and_then(|at| config.sinks.get(at)).map(|sink| sink.name.clone());
        (connector, dead_letter)
    };
    found.objects(
        &sink::SECTION,
        &from.sinks,
        &to.sinks,
        |sink| &sink.name,
        |a, b| {
            let (own, other) = (names(from, a), names(to, b));
            let mut keys = a.differing(b);
            keys.retain(|key| !["connector", "dead_letter"].contains(key));
            keys.extend((own.0 != other.0).then_some("connector"));
            keys.extend((own.1 != other.1).then_some("dead_letter"));
            keys
        },
    );
    found.section(&http::SECTION, None, from.http.differing(&to.http));
    found.section(&http::METRICS_SECTION, None, from.metrics.differing(&to.metrics));
    found.section(&log::SECTION, None, from.log.differing(&to.log));
    found.list
}

/// The problems of differences that only another start brings about; empty if there are none.
pub fn refusals(differences: &[Difference], new: &Loaded) -> Vec<Problem> {
    let fixed = differences.iter().filter(|difference| match difference.what {
        What::Value { .. } => difference.change == Change::Restart,
        What::Added | What::Removed => ![sink::SECTION.name, connector::SECTION.name].contains(&difference.slot.0),
    });
    let problem = |difference: &Difference| {
        let fault = format!("a running node cannot change this: {difference}");
        let remedy = format!("take `{}` back and reload, or restart the node", difference.path);
        Problem::error(fault, remedy).at(difference.place(new), "needs a restart")
    };
    fixed.map(problem).collect()
}

impl Difference {
    /// Where it was written in `loaded`, if it was.
    pub fn place(&self, loaded: &Loaded) -> Option<Place> {
        let (section, name, key) = &self.slot;
        let name = name.as_deref();
        let entry = key.and_then(|key| loaded.layers.get(section, name, key));
        entry.and_then(|entry| entry.place()).or_else(|| loaded.place(section, name?, &[]))
    }
}

impl Loaded {
    /// Where the first of these options of an object was written, or the object itself.
    pub fn place(&self, section: &'static str, name: &str, keys: &[&'static str]) -> Option<Place> {
        let entry = |key: &&'static str| self.layers.get(section, Some(name), key)?.place();
        keys.iter().find_map(entry).or_else(|| {
            let objects = self.layers.objects(section);
            objects.into_iter().find(|object| object.name == name)?.place
        })
    }
}

struct Found<'a> {
    old: &'a Loaded,
    new: &'a Loaded,
    list: Vec<Difference>,
}

impl Found<'_> {
    fn section(&mut self, section: &'static Section, name: Option<&str>, keys: Vec<&'static str>) {
        for key in keys {
            let path = section.path(name, key);
            let value = |loaded: &Loaded| {
                let effective = loaded.effective.iter().find(|effective| effective.path == path);
                effective.map_or_else(|| "none".to_string(), |effective| effective.value.clone())
            };
            let what = What::Value { from: value(self.old), to: value(self.new) };
            let change = section.row(key).map_or(Change::Restart, |row| row.change);
            let slot = (section.name, name.map(str::to_string), Some(key));
            self.list.push(Difference { path, change, what, slot });
        }
    }

    fn objects<T>(
        &mut self,
        section: &'static Section,
        old: &[T],
        new: &[T],
        name: impl Fn(&T) -> &String,
        differing: impl Fn(&T, &T) -> Vec<&'static str>,
    ) {
        for object in old {
            match new.iter().find(|other| name(other) == name(object)) {
                Some(other) => self.section(section, Some(name(object)), differing(object, other)),
                None => self.object(section, name(object), What::Removed),
            }
        }
        for object in new.iter().filter(|object| !old.iter().any(|other| name(other) == name(object))) {
            self.object(section, name(object), What::Added);
        }
    }

    /// A whole object. Those that are not enabled are not there.
    fn object(&mut self, section: &'static Section, name: &str, what: What) {
        let path = format!("{}.{name}", section.name);
        let slot = (section.name, Some(name.to_string()), None);
        self.list.push(Difference { path, change: Change::Live, what, slot });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Machine, Sources};

    const FILE: &str = "[connectors.a]\n[connectors.b]\n[sinks.one]\nconnector = \"a\"\ntopic = \"t\"\nlinger = \"5ms\"\n\
                        [sinks.two]\nconnector = \"b\"\ntopic = \"u\"\n";

    fn loaded(text: &str) -> Loaded {
        let machine = Machine { memory_bytes: 1 << 30, cores: 1, descriptors: 1024 };
        Loaded::load(&Sources::file(Document::new("a.toml", text)), &machine).expect("a configuration")
    }

    fn lines(old: &str, new: &str) -> Vec<String> {
        differences(&loaded(old), &loaded(new)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn differences_are_told_by_option() {
        let new = FILE.replace("5ms", "20ms").replace("topic = \"u\"", "topic = \"u\"\nmax_inflight = 3");
        let expected = ["sinks.one.linger: \"5ms\" → \"20ms\"", "sinks.two.max_inflight: 5 → 3"];
        assert_eq!(lines(FILE, &new), expected);
    }

    #[test]
    fn another_order_is_no_difference_and_another_spelling_neither() {
        let (one, two) = FILE.split_at(FILE.find("[sinks.two]").unwrap_or_default());
        let (connectors, sink) = one.split_at(one.find("[sinks.one]").unwrap_or_default());
        let swapped = format!("[connectors.b]\n[connectors.a]\n{two}{}", sink.replace("5ms", "5000us"));
        assert!(connectors.contains("connectors.a") && lines(FILE, &swapped).is_empty(), "{:?}", lines(FILE, &swapped));
    }

    #[test]
    fn sinks_come_and_go_and_what_needs_a_restart_is_named_with_its_line() {
        let new = format!("[node]\nshards = 2\n{}", FILE.replace("sinks.two", "sinks.three"));
        let (old, new) = (loaded(FILE), loaded(&new));
        let found = differences(&old, &new);
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["node.shards: 0 → 2", "sinks.two: removed", "sinks.three: added"]);
        let refused = refusals(&found, &new);
        let [only] = refused.as_slice() else { panic!("{refused:?}") };
        assert_eq!(only.message(), "a running node cannot change this: node.shards: 0 → 2");
    }

    #[test]
    fn few_options_of_a_sink_wait_for_the_next_start() {
        let fixed: Vec<&str> =
            sink::SECTION.rows().filter(|(row, _)| row.change == Change::Restart).map(|(row, _)| row.key).collect();
        assert!(fixed.iter().all(|key| ["buffer.mode", "buffer.dir"].contains(key)), "{fixed:?}");
        assert!(fixed.contains(&"buffer.mode") && fixed.contains(&"buffer.dir"), "{fixed:?}");
    }
}
