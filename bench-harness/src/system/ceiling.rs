//! The ceiling, started as a process of its own so that its CPU is measured as the product's is.

use std::process::Command;

use miette::{IntoDiagnostic, Result, bail};

use super::process::Process;
use super::{Connector, Running, Setup, free_port};

/// Starts it and waits for its MQTT listener.
pub(super) fn start(setup: &Setup) -> Result<Running> {
    std::fs::create_dir_all(&setup.dir).into_diagnostic()?;
    let mqtt = free_port()?;
    let mut command = Command::new(std::env::current_exe().into_diagnostic()?);
    command.arg("ceiling").args(["--bind", &mqtt.to_string()]);
    match (setup.connector, &setup.bootstrap) {
        (Connector::Kafka, Some(bootstrap)) => {
            command.args([
                "--kafka",
                bootstrap,
                "--topic",
                &setup.topic,
                "--partitions",
                &setup.partitions.to_string(),
            ]);
        }
        (Connector::Discard, _) => {}
        _ => bail!("the ceiling has the connectors kafka and discard"),
    }
    command.args(&setup.ceiling_args);
    let mut process = Process::start("the ceiling", &mut command, &setup.dir.join("ceiling.log"))?;
    process.await_listener(mqtt)?;
    Ok(Running { process, others: Vec::new(), mqtt, http: None, kafka: setup.bootstrap.clone() })
}
