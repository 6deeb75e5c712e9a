//! Can the Kafka clusters of a configuration be used: names resolved, brokers reached, topics known?
//!
//! This is the connectivity test of `check --connect` too. It asks with rskafka, off the data path.

use std::net::ToSocketAddrs as _;
use std::time::Duration;

use rskafka::client::ClientBuilder;

use super::Finding;
use crate::config::{Config, ConnectorKind, KafkaConnector};

/// Reaches every Kafka cluster of the configuration and looks for the fixed topics of its sinks.
pub(in crate::cli) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, connector) in config.connectors.iter().enumerate() {
        let ConnectorKind::Kafka(kafka) = &connector.kind else { continue };
        let subject = format!("connector {}", connector.name);
        let resolved = resolve(&subject, kafka);
        let any = resolved.iter().any(|finding| !finding.is_failure());
        findings.extend(resolved);
        if !any {
            continue;
        }
        let sinks = config.sinks.iter().filter(|sink| sink.connector == at);
        let topics: Vec<&str> = sinks.map(|sink| sink.topic.as_str()).filter(|topic| !topic.contains("${")).collect();
        findings.extend(reach(&subject, kafka, &topics));
    }
    findings
}

/// Each bootstrap host is a name that means something.
fn resolve(subject: &str, kafka: &KafkaConnector) -> Vec<Finding> {
    let hosts = kafka.bootstrap_hosts.iter();
    hosts
        .map(|host| match (host.host.as_str(), host.port).to_socket_addrs() {
            Ok(addresses) => {
                let addresses: Vec<String> = addresses.map(|address| address.ip().to_string()).collect();
                Finding::good(subject, format!("resolve {host}: {}", addresses.join(", ")))
            }
            Err(error) => {
                let why = "a broker is found by its name at every reconnect";
                let fix = "correct bootstrap_hosts, or the resolver (/etc/resolv.conf, /etc/hosts)";
                Finding::failure(subject, format!("resolve {host}: {error}"), why, fix)
            }
        })
        .collect()
}

/// Some broker answers, and has the topics.
fn reach(subject: &str, kafka: &KafkaConnector, topics: &[&str]) -> Vec<Finding> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return vec![Finding::failure(subject, format!("no runtime: {error}"), "the probe needs one", "")];
        }
    };
    let limit = Duration::from_millis(kafka.connect_timeout_ms + kafka.metadata_request_timeout_ms);
    let hosts: Vec<String> = kafka.bootstrap_hosts.iter().map(|host| host.to_string()).collect();
    let asked = runtime.block_on(async {
        tokio::time::timeout(limit, async {
            let client = ClientBuilder::new(hosts.clone()).client_id("aqueduct-doctor").build().await?;
            client.list_topics().await
        })
        .await
    });
    let why = "no record leaves before a broker has named the leaders of its topic";
    match asked {
        Ok(Ok(known)) => {
            let found = format!("reached through {}, {} topics", hosts.join(", "), known.len());
            let mut findings = vec![Finding::good(subject, found)];
            findings.extend(topics.iter().map(|topic| match known.iter().find(|known| known.name == *topic) {
                Some(known) => Finding::good(subject, format!("topic {topic}: {} partitions", known.partitions.len())),
                None => Finding::warning(
                    subject,
                    format!("topic {topic} does not exist, or may not be seen"),
                    "publications for it are held until it exists",
                    format!(
                        "create it: kafka-topics.sh --bootstrap-server {} --create --topic {topic} --partitions 4",
                        hosts.join(",")
                    ),
                ),
            }));
            findings
        }
        Ok(Err(error)) => {
            let fix = "correct bootstrap_hosts, start the brokers, or open the firewall";
            vec![Finding::failure(subject, format!("reach {}: {error}", hosts.join(", ")), why, fix)]
        }
        Err(_) => {
            let fix = "correct bootstrap_hosts, start the brokers, or open the firewall; advertised.listeners of the \
                       brokers must be reachable from here";
            let found = format!("reach {}: no answer in {} ms", hosts.join(", "), limit.as_millis());
            vec![Finding::failure(subject, found, why, fix)]
        }
    }
}
