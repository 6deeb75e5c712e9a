//! rmqtt with its Kafka egress plugin, as rmqttd's own `main` puts them together, from the crates and the configuration files of
//! rmqttd. Left out are the plugins that have nothing to do with the task (among them the cluster, whose build compiles protobuf's
//! C++ from source) and the listeners other than TCP: each could only cost more.
//!
//! The plugin hangs on the hook that a PUBLISH passes before it is routed. It puts the message into a queue in memory, and the broker
//! acknowledges it then; what becomes of the record is logged.

use anyhow::Context;
use clap::Parser;
use rmqtt::context::ServerContext;
use rmqtt::net::Builder;
use rmqtt::node::Node;
use rmqtt::server::MqttServer;
use rmqtt_conf::{Listener, Options, Settings};

#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let conf = Settings::init(Options::parse())?;
    tracing_subscriber::fmt().with_env_filter("warn").init();
    let busy = &conf.node.busy;
    let context = ServerContext::new()
        .node(Node::new(conf.node.id, busy.loadavg, busy.cpuloadavg, busy.update_interval))
        .task_exec_workers(conf.task.exec_workers)
        .task_exec_queue_max(conf.task.exec_queue_max)
        .busy_check_enable(busy.check_enable)
        .busy_handshaking_limit(busy.handshaking)
        .mqtt_max_sessions(conf.mqtt.max_sessions)
        .plugins_config_dir(conf.plugins.dir.as_str())
        .build()
        .await;
    rmqtt_bridge_egress_kafka::register_named(&context, "rmqtt-bridge-egress-kafka", true, false).await?;
    let mut server = MqttServer::new(context);
    for settings in conf.listeners.tcps.values() {
        let listener = listener(settings).bind().with_context(|| format!("listening on {}", settings.addr))?;
        server = server.listener(listener.tcp()?);
    }
    server.build().run().await?;
    Ok(())
}

/// Every setting of a listener that has to do with TCP and sessions.
fn listener(settings: &Listener) -> Builder {
    let (rate, every) = settings.mqueue_rate_limit;
    Builder::new()
        .name(settings.name.as_str())
        .laddr(settings.addr)
        .max_connections(settings.max_connections)
        .max_handshaking_limit(settings.max_handshaking_limit)
        .max_packet_size(settings.max_packet_size.as_u32())
        .backlog(settings.backlog)
        .nodelay(settings.nodelay)
        .reuseaddr(settings.reuseaddr)
        .reuseport(settings.reuseport)
        .tcp_keepalive(settings.tcp_keepalive)
        .allow_anonymous(settings.allow_anonymous)
        .min_keepalive(settings.min_keepalive)
        .max_keepalive(settings.max_keepalive)
        .allow_zero_keepalive(settings.allow_zero_keepalive)
        .keepalive_backoff(settings.keepalive_backoff)
        .max_inflight(settings.max_inflight)
        .handshake_timeout(settings.handshake_timeout)
        .max_mqueue_len(settings.max_mqueue_len)
        .mqueue_rate_limit(rate, every)
        .max_clientid_len(settings.max_clientid_len)
        .max_qos_allowed(settings.max_qos_allowed)
        .max_topic_levels(settings.max_topic_levels)
        .session_expiry_interval(settings.session_expiry_interval)
        .max_session_expiry_interval(settings.max_session_expiry_interval)
        .message_retry_interval(settings.message_retry_interval)
        .message_expiry_interval(settings.message_expiry_interval)
        .max_subscriptions(settings.max_subscriptions)
        .max_topic_aliases(settings.max_topic_aliases)
        .limit_subscription(settings.limit_subscription)
        .idle_timeout(settings.idle_timeout)
}
