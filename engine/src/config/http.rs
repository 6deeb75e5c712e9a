//! `[http]` and `[metrics]`: the management port.

use std::net::SocketAddr;

use super::kind::network::Address;
use super::kind::text::{Secret, SecretText};
use super::kind::{Flag, Optional};
use super::option::{Group, Section, absent, options, or};

pub(crate) static SECTION: Section = Section {
    name: "http",
    named: false,
    about: Http::ABOUT,
    groups: &[Group { only: None, about: Http::ABOUT, rows: Http::ROWS }],
};

pub(crate) static METRICS_SECTION: Section = Section {
    name: "metrics",
    named: false,
    about: Metrics::ABOUT,
    groups: &[Group { only: None, about: Metrics::ABOUT, rows: Metrics::ROWS }],
};

options! {
    /// The port of health and metrics.
    pub struct Http {
        /// Address and port to listen on.
        "bind" => bind: SocketAddr = Address, or("127.0.0.1:18083");
        /// What a request from elsewhere shows as `Authorization: Bearer`; without one, the token in the data directory.
        "token" => token: Option<Secret> = Optional(SecretText), absent("{ file = \"/run/secrets/aqueduct-token\" }");
    }
}

options! {
    /// Who may read the metrics.
    pub struct Metrics {
        /// Whether `/metrics` on an address others can reach needs no token.
        "public" => public: bool = Flag, or("false");
    }
}
