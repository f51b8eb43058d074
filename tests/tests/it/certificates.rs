//! Certificates by ACME, against Pebble, which refuses nonces at random and validates like a real authority.
