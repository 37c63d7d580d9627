//! Our own MQTT broker: listeners, the door (one connection), logins, permissions, the router.
