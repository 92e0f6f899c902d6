//! Upkeep from the command line, beside a running server or without one: sweeping, checking, migrating.
