//! The limits of one tenant. Every value has a default and a decided answer when it is reached;
//! docs/configuration.md has them in one table.

/// How much of a server one tenant may use, over all of its routes and all workers. `None` is no
/// limit, or, where the server has one for every tenant already, that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Sessions at once, those included that its handlers opened. One more handshake: 503.
    pub sessions_max: Option<u64>,
    /// Handshakes a second that find their route; as many may come at once. One more: 429.
    pub handshakes_per_second_max: Option<u64>,
    /// Messages a second that are read; as many may come at once. Beyond it nothing is read.
    pub messages_in_per_second_max: Option<u64>,
    /// Bytes a second that are read from sockets, frame headers included; as many may come at
    /// once. Beyond it nothing is read.
    pub bytes_in_per_second_max: Option<u64>,
    /// Messages a second that are sent, to each receiver; as many may go at once. Beyond it nothing
    /// is read, and once a second's worth is owed `send` waits or is answered `full`.
    pub messages_out_per_second_max: Option<u64>,
    /// The same in bytes of payloads.
    pub bytes_out_per_second_max: Option<u64>,
    /// Bytes that wait in inboxes and for slow sockets. Beyond it nothing is read. Worst case: that
    /// much, and for each worker what one read of each session brings.
    pub queued_bytes_max: Option<u64>,
    /// Instances that hold memory. One more: 503, or 1013 for a session whose instance wakes.
    pub instances_max: Option<u64>,
    /// Linear memory of all instances, in bytes. A growth beyond it is refused to the guest; an
    /// instance that cannot start for it: 503.
    pub memory_bytes_max: Option<u64>,
    /// Its weight where tenants compete for the processor of a worker. Default 100.
    pub cpu_share: u32,
    /// Topics that have members or a history. A subscription that would make one more is refused.
    pub topics_max: Option<u64>,
    /// In the place of [`StorageSettings::tenant_bytes_max`](crate::StorageSettings).
    pub stored_bytes_max: Option<u64>,
    /// In the place of [`StorageSettings::tenant_keys_max`](crate::StorageSettings).
    pub stored_keys_max: Option<u64>,
    /// In the place of [`StorageSettings::tenant_timers_max`](crate::StorageSettings).
    pub stored_timers_max: Option<u64>,
    /// In the place of [`LogLimits::tenant_bytes_per_second_max`](crate::LogLimits).
    pub log_bytes_per_second_max: Option<u64>,
    /// In the place of [`LogLimits::tenant_lines_per_second_max`](crate::LogLimits).
    pub log_lines_per_second_max: Option<u64>,
    /// In the place of [`OutboundSettings::tenant_connections_max`](crate::OutboundSettings).
    pub outbound_connections_max: Option<u64>,
    /// In the place of [`OutboundSettings::tenant_websockets_max`](crate::OutboundSettings).
    pub outbound_websockets_max: Option<u64>,
}

impl TenantLimits {
    /// The weight of a tenant that names none.
    pub(crate) const CPU_SHARE: u32 = 100;
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            sessions_max: None,
            handshakes_per_second_max: None,
            messages_in_per_second_max: None,
            bytes_in_per_second_max: None,
            messages_out_per_second_max: None,
            bytes_out_per_second_max: None,
            queued_bytes_max: None,
            instances_max: None,
            memory_bytes_max: None,
            cpu_share: Self::CPU_SHARE,
            topics_max: None,
            stored_bytes_max: None,
            stored_keys_max: None,
            stored_timers_max: None,
            log_bytes_per_second_max: None,
            log_lines_per_second_max: None,
            outbound_connections_max: None,
            outbound_websockets_max: None,
        }
    }
}

/// Which limit was reached, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Sessions,
    Handshakes,
    MessagesIn,
    BytesIn,
    MessagesOut,
    BytesOut,
    QueuedBytes,
    Instances,
    Memory,
    Topics,
    Stored,
    Log,
    Outbound,
}

impl Limit {
    pub(super) const ALL: [Self; 13] = [
        Self::Sessions,
        Self::Handshakes,
        Self::MessagesIn,
        Self::BytesIn,
        Self::MessagesOut,
        Self::BytesOut,
        Self::QueuedBytes,
        Self::Instances,
        Self::Memory,
        Self::Topics,
        Self::Stored,
        Self::Log,
        Self::Outbound,
    ];

    /// For metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Handshakes => "handshakes_per_second",
            Self::MessagesIn => "messages_in_per_second",
            Self::BytesIn => "bytes_in_per_second",
            Self::MessagesOut => "messages_out_per_second",
            Self::BytesOut => "bytes_out_per_second",
            Self::QueuedBytes => "queued_bytes",
            Self::Instances => "instances",
            Self::Memory => "memory_bytes",
            Self::Topics => "topics",
            Self::Stored => "stored",
            Self::Log => "log",
            Self::Outbound => "outbound",
        }
    }
}
