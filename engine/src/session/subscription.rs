//! Subscriptions: what a client asked for, and what it gets of a publication that several of them match.
//!
//! A client gets one copy of a publication however many of its subscriptions match: at the highest of their qualities of
//! service, with all of their identifiers [MQTT-3.3.4-2..4], and with the RETAIN flag as published if one of them asks for it.

use mqtt::{Options, QoS};

/// One subscription of a session; its filter is known by where it stands in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// Comes back with each publication that matches; 0 = none.
    pub id: u32,
    /// The highest quality of service of what is delivered.
    pub qos: QoS,
    /// The client's own publications are not delivered to it.
    pub no_local: bool,
    /// The RETAIN flag is passed on as it was published.
    pub retain_as_published: bool,
}

impl Subscription {
    /// What a SUBSCRIBE asks for.
    pub fn new(options: &Options, id: u32) -> Self {
        let Options { qos, no_local, retain_as_published, .. } = *options;
        Self { id, qos, no_local, retain_as_published }
    }
}

/// A session with one of its subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscriber {
    /// Slot of the session.
    pub session: u32,
    /// How it is served.
    pub subscription: Subscription,
}

/// What one session gets of one publication.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    /// Slot of the session.
    pub session: u32,
    /// The highest quality of service granted.
    pub qos: QoS,
    /// The RETAIN flag is passed on as it was published.
    pub retain_as_published: bool,
    /// Identifiers of the subscriptions that match and have one.
    pub ids: Box<[u32]>,
}

/// Makes one claim of all subscriptions of a session, which stand side by side.
pub fn claims(matching: &[Subscriber]) -> impl Iterator<Item = Claim> {
    matching.chunk_by(|a, b| a.session == b.session).map(Claim::of)
}

impl Claim {
    /// `subscriptions` are those of one session, at least one.
    fn of(subscriptions: &[Subscriber]) -> Self {
        let mut claim = Self { session: 0, qos: QoS::AtMostOnce, retain_as_published: false, ids: Box::default() };
        for Subscriber { session, subscription } in subscriptions {
            claim.session = *session;
            claim.qos = claim.qos.max(subscription.qos);
            claim.retain_as_published |= subscription.retain_as_published;
        }
        if subscriptions.iter().any(|s| s.subscription.id != 0) {
            claim.ids = subscriptions.iter().map(|s| s.subscription.id).filter(|&id| id != 0).collect();
        }
        claim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_subscriptions_make_one_claim() {
        // [MQTT-3.3.4-2], [MQTT-3.3.4-3], [MQTT-3.3.4-4]
        let subscriber = |session, qos, id, retain_as_published| Subscriber {
            session,
            subscription: Subscription { id, qos, no_local: false, retain_as_published },
        };
        let matching = [
            subscriber(2, QoS::AtLeastOnce, 9, false),
            subscriber(2, QoS::AtMostOnce, 8, false),
            subscriber(4, QoS::AtMostOnce, 0, true),
            subscriber(4, QoS::ExactlyOnce, 0, false),
        ];
        let claims: Vec<Claim> = claims(&matching).collect();
        let expected = [
            Claim { session: 2, qos: QoS::AtLeastOnce, retain_as_published: false, ids: [9, 8].into() },
            Claim { session: 4, qos: QoS::ExactlyOnce, retain_as_published: true, ids: [].into() },
        ];
        assert_eq!(claims, expected);
    }
}
