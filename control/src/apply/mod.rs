//! Declarative configuration: `gateway.yaml` against what the store holds.
