//! The environment variables that count: CoreScope's, with its meaning.

/// What the environment says; an empty variable counts as absent, as it does for CoreScope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// `DB_PATH`: goes over `dbPath`.
    pub db_path: Option<String>,
    /// `MQTT_BROKER`: takes the place of every source, under the name `env`.
    pub mqtt_broker: Option<String>,
    /// `MQTT_TOPIC`: what to subscribe to there; counts only together with `MQTT_BROKER`.
    pub mqtt_topic: Option<String>,
    /// `CHANNEL_KEYS_PATH`: goes over `channelKeysPath`.
    pub channel_keys_path: Option<String>,
    /// `CORESCOPE_INGESTOR_STATS`: goes over `statsFile`.
    pub stats_file: Option<String>,
}

impl Env {
    /// Asks for each variable once.
    pub fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let given = |name| lookup(name).filter(|value| !value.is_empty());
        Self {
            db_path: given("DB_PATH"),
            mqtt_broker: given("MQTT_BROKER"),
            mqtt_topic: given("MQTT_TOPIC"),
            channel_keys_path: given("CHANNEL_KEYS_PATH"),
            stats_file: given("CORESCOPE_INGESTOR_STATS"),
        }
    }
}

/// The process's own environment, for the program's rim; everything else gets it as an argument.
pub fn of_this_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_absent() {
        let env = Env::read(&|name| match name {
            "DB_PATH" => Some(String::new()),
            "MQTT_BROKER" => Some("mqtt://b".into()),
            _ => None,
        });
        assert_eq!(env, Env { mqtt_broker: Some("mqtt://b".into()), ..Env::default() });
    }
}
