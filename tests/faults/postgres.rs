//! PostgreSQL as it fails: connections and answers lost, servers that restart, many at once.

mod clients;
mod outcomes;
mod proxy;
mod start;
mod support;
mod takeover;
