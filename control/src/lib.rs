//! The control process: owns the keys, publishes snapshots.
