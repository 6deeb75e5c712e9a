//! What the engine takes for granted about Apache Kafka, and no document promises. When Kafka changes its mind, these say so.

mod broker;

mod producer_epochs_are_kept_per_partition;
mod requests_of_one_connection_are_answered_one_after_the_other;
