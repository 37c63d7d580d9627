//! What a record means for each table: one fact each.

use super::*;

#[test]
fn a_packet_becomes_a_transmission_and_an_observation_with_its_observer() {
    let mut bed = Bed::new();
    bed.store([with(packet(1, "OBS", 0), |r| {
        let row = row(r);
        (row.snr_db, row.rssi_dbm, row.score) = (Some(5.5), Some(-80.0), Some(666));
        row.path_json = "[\"6D\"]".into();
    })]);
    let all: String = bed.one(
        "SELECT json_array(t.id, hash, t.raw_hex, first_seen, t.last_seen, created_at, route_type,
           payload_type, payload_version, decoded_json, from_pubkey, channel_hash, scope_name)
         FROM transmissions t",
    );
    assert_eq!(
        all,
        r#"[1,"0000000000000001","110000000001","2026-11-23T04:24:21Z",1795407861,"2026-11-23 04:24:21",1,2,0,"{}",null,null,null]"#
    );
    let all: String = bed.one(
        "SELECT json_array(transmission_id, observer_idx, direction, snr, rssi, score, path_json,
           timestamp, resolved_path, raw_hex) FROM observations",
    );
    assert_eq!(all, r#"[1,1,"rx",5.5,-80.0,666,"[\"6D\"]",1795407861,null,null]"#);
    let all: String = bed.one(
        "SELECT json_array(rowid, id, name, first_seen, last_seen, last_packet_at, packet_count,
           inactive, can_relay, can_relay_seen) FROM observers",
    );
    assert_eq!(
        all,
        r#"[1,"OBS",null,"2026-11-23T04:24:21Z","2026-11-23T04:24:21Z","2026-11-23T04:24:21Z",1,0,1,0]"#
    );
}

#[test]
fn a_packet_heard_again_adds_one_observation_and_moves_the_transmissions_times() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 10)]);
    bed.store([packet(1, "B", 40), packet(1, "C", 5)]);
    assert_eq!((bed.count("transmissions"), bed.count("observations")), (1, 3));
    assert_eq!(bed.one::<String>("SELECT first_seen FROM transmissions"), "2026-11-23T04:24:26Z");
    assert_eq!(bed.one::<i64>("SELECT last_seen FROM transmissions"), START_MS / 1_000 + 40);
    let c = &bed.counters;
    assert_eq!((c.tx_inserted.get(), c.tx_dupes.get(), c.obs_inserted.get()), (1, 2, 3));
}

#[test]
fn a_known_packet_is_recognised_after_a_restart() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 10)]);
    bed.finish();
    let mut again = Bed::on(&bed.path);
    again.store([packet(1, "A", 20), packet(1, "B", 5)]);
    assert_eq!((again.count("transmissions"), again.count("observations")), (1, 2));
    assert_eq!(again.one::<String>("SELECT first_seen FROM transmissions"), "2026-11-23T04:24:26Z");
    assert_eq!(again.one::<i64>("SELECT last_seen FROM transmissions"), START_MS / 1_000 + 20);
}

#[test]
fn an_observation_is_stored_once_and_what_came_late_fills_in() {
    let mut bed = Bed::new();
    bed.store([with(packet(1, "A", 0), |r| row(r).rssi_dbm = Some(-70.0))]);
    bed.store([with(packet(1, "A", 1), |r| row(r).snr_db = Some(7.25))]);
    bed.store([packet(1, "A", 2)]);
    assert_eq!(bed.count("observations"), 1);
    let all: String = bed.one("SELECT json_array(snr, rssi, score, timestamp) FROM observations");
    assert_eq!(all, format!("[7.25,-70.0,null,{}]", START_MS / 1_000));
    assert_eq!(bed.counters.obs_inserted.get(), 1);
}

#[test]
fn another_path_is_another_observation() {
    let mut bed = Bed::new();
    bed.store([
        packet(1, "A", 0),
        with(packet(1, "A", 0), |r| row(r).path_json = "[\"AB\"]".into()),
    ]);
    assert_eq!((bed.count("transmissions"), bed.count("observations")), (1, 2));
}

#[test]
fn an_observation_keeps_its_bytes_only_where_they_differ_from_the_transmissions() {
    let mut bed = Bed::new();
    let differs = |r: &mut Record| row(r).raw_hex = "1202AB".into();
    bed.store([packet(1, "A", 0), packet(1, "B", 0), with(packet(1, "C", 0), differs)]);
    bed.finish();
    let mut again = Bed::on(&bed.path);
    again.store([packet(1, "D", 0), with(packet(1, "E", 0), differs)]);
    let all: String = again.one("SELECT json_group_array(raw_hex) FROM observations");
    assert_eq!(all, r#"[null,null,"1202AB",null,"1202AB"]"#);
    let view: String = again.one("SELECT json_group_array(raw_hex) FROM packets_v");
    assert_eq!(view, r#"["110000000001","110000000001","1202AB","110000000001","1202AB"]"#);
}

#[test]
fn without_an_observer_the_same_observation_is_still_stored_once() {
    let mut bed = Bed::new();
    let companion = |second| with(packet(1, "", second), |r| r.observer = None);
    bed.store([companion(0), companion(0)]);
    bed.store([with(companion(1), |r| row(r).snr_db = Some(1.0))]);
    assert_eq!((bed.count("observations"), bed.count("observers")), (1, 0));
    assert_eq!(bed.one::<f64>("SELECT snr FROM observations"), 1.0);
    assert_eq!(bed.one::<Option<i64>>("SELECT observer_idx FROM observations"), None);
}

#[test]
fn an_empty_observer_id_creates_no_observer() {
    let mut bed = Bed::new();
    bed.store([packet(1, "", 0)]);
    assert_eq!((bed.count("observers"), bed.count("observations")), (0, 1));
}

#[test]
fn scope_channel_and_sender_reach_their_columns() {
    let mut bed = Bed::new();
    bed.store([with(packet(1, "A", 0), |r| {
        let row = row(r);
        row.from_pubkey = Some("ab12".into());
        row.channel_hash = Some("enc_7D".into());
        row.scope_name = Some(String::new());
    })]);
    let all: String =
        bed.one("SELECT json_array(from_pubkey, channel_hash, scope_name) FROM transmissions");
    assert_eq!(all, r#"["ab12","enc_7D",""]"#);
}

#[test]
fn packets_and_statuses_count_for_an_observer_but_only_packets_move_last_packet_at() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 0), packet(2, "A", 1), status("A", 60, Activity::Status)]);
    let all: String =
        bed.one("SELECT json_array(packet_count, last_seen, last_packet_at) FROM observers");
    assert_eq!(all, r#"[3,"2026-11-23T04:25:21Z","2026-11-23T04:24:22Z"]"#);
}

#[test]
fn an_observer_is_counted_over_batches_and_restarts() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 0)]);
    bed.store([packet(1, "A", 1)]);
    bed.finish();
    let mut again = Bed::on(&bed.path);
    again.store([packet(2, "A", 2)]);
    assert_eq!(again.one::<i64>("SELECT packet_count FROM observers"), 3);
}

#[test]
fn a_missing_or_empty_name_never_overwrites_one() {
    let mut bed = Bed::new();
    let named = |name: Option<&str>, iata: Option<&str>| {
        with(packet(1, "A", 0), |r| {
            let observer = r.observer.as_mut().unwrap();
            (observer.name, observer.iata) = (name.map(Into::into), iata.map(Into::into));
        })
    };
    bed.store([named(Some("Roof"), Some("SJC"))]);
    bed.store([named(None, None), named(Some(""), Some(""))]);
    assert_eq!(bed.one::<String>("SELECT name || ' ' || iata FROM observers"), "Roof SJC");
    bed.store([named(Some("Mast"), Some("SFO"))]);
    assert_eq!(bed.one::<String>("SELECT name || ' ' || iata FROM observers"), "Mast SFO");
}

#[test]
fn last_seen_never_goes_back_but_a_time_in_the_future_is_brought_back() {
    let mut bed = Bed::new();
    bed.clock.set(START_MS + 100_000);
    bed.store([packet(1, "A", 100)]);
    bed.store([packet(2, "A", 10)]);
    let seen = "SELECT last_seen || ' ' || last_packet_at FROM observers";
    assert_eq!(bed.one::<String>(seen), "2026-11-23T04:26:01Z 2026-11-23T04:26:01Z");
    bed.other().execute("UPDATE observers SET last_seen = '2036-01-01T00:00:00Z'", []).unwrap();
    bed.store([packet(3, "A", 20)]);
    assert_eq!(bed.one::<String>(seen), "2026-11-23T04:26:01Z 2026-11-23T04:26:01Z");
}

#[test]
fn a_status_fills_metadata_and_what_it_leaves_out_stays() {
    let mut bed = Bed::new();
    bed.store([with(status("A", 0, Activity::Status), |r| {
        let about = about(r);
        about.model = Some("Heltec V3".into());
        about.radio = Some("910.525,62.5,7,5".into());
        about.battery_mv = Some(4_100);
        about.noise_floor_dbm = Some(-115.5);
        about.can_relay = Some(false);
    })]);
    bed.store([with(status("A", 1, Activity::Status), |r| about(r).uptime_secs = Some(60))]);
    let all: String = bed.one(
        "SELECT json_array(model, firmware, client_version, radio, battery_mv, uptime_secs,
           noise_floor, can_relay, can_relay_seen) FROM observers",
    );
    assert_eq!(all, r#"["Heltec V3",null,null,"910.525,62.5,7,5",4100,60,-115.5,0,1]"#);
}

#[test]
fn statuses_of_one_batch_add_up_to_the_last_of_each_value() {
    let mut bed = Bed::patient(Duration::from_millis(200));
    bed.store([
        with(status("A", 0, Activity::Status), |r| about(r).battery_mv = Some(1)),
        with(status("A", 1, Activity::Status), |r| about(r).firmware = Some("1.11".into())),
        with(status("A", 2, Activity::Status), |r| about(r).battery_mv = Some(3)),
    ]);
    assert_eq!(bed.counters.commits.get(), 1);
    assert_eq!(bed.one::<String>("SELECT firmware || battery_mv FROM observers"), "1.113");
}

#[test]
fn a_status_with_numbers_is_a_sample_of_its_five_minutes() {
    let mut bed = Bed::new();
    bed.store([
        with(status("A", 0, Activity::Status), |r| {
            (about(r).noise_floor_dbm, about(r).packets_recv) = (Some(-110.0), Some(5));
        }),
        with(status("A", 60, Activity::Status), |r| about(r).tx_air_secs = Some(9)),
        status("A", 61, Activity::Status),
    ]);
    bed.store([with(status("A", 300, Activity::Status), |r| about(r).recv_errors = Some(2))]);
    let all: String = bed.one(
        "SELECT json_group_array(json_array(observer_id, timestamp, noise_floor, tx_air_secs,
           rx_air_secs, recv_errors, battery_mv, packets_sent, packets_recv))
         FROM observer_metrics",
    );
    assert_eq!(
        all,
        r#"[["A","2026-11-23T04:25:00Z",null,9,null,null,null,null,null],["A","2026-11-23T04:30:00Z",null,null,null,2,null,null,null]]"#
    );
}

#[test]
fn a_retained_or_offline_status_fills_in_but_is_no_activity() {
    let mut bed = Bed::new();
    let offline = |id, second| {
        with(status(id, second, Activity::None), |r| about(r).battery_mv = Some(3_000))
    };
    bed.store([offline("UNKNOWN", 0)]);
    assert_eq!((bed.count("observers"), bed.count("observer_metrics")), (0, 0));
    bed.store([packet(1, "A", 0)]);
    bed.other().execute("UPDATE observers SET inactive = 1", []).unwrap();
    bed.store([offline("A", 50)]);
    let all: String =
        bed.one("SELECT json_array(battery_mv, packet_count, last_seen, inactive) FROM observers");
    assert_eq!(all, r#"[3000,1,"2026-11-23T04:24:21Z",1]"#);
    assert_eq!(bed.one::<i64>("SELECT count FROM meshbox_origins"), 1);
    bed.store([status("A", 51, Activity::Status)]);
    assert_eq!(bed.one::<i64>("SELECT inactive FROM observers"), 0);
}

#[test]
fn an_observer_row_that_differs_only_in_case_is_reused() {
    let mut bed = Bed::new();
    let (upper, lower) = ("AB".repeat(32), "ab".repeat(32));
    let insert = "INSERT INTO observers (id, first_seen, packet_count) VALUES (?1, 'then', 7)";
    bed.other().execute(insert, [&lower]).unwrap();
    bed.store([
        packet(1, &upper, 0),
        with(status(&upper, 1, Activity::Status), |r| about(r).battery_mv = Some(1)),
        dropped(&upper, 2),
    ]);
    let all: String =
        bed.one("SELECT json_group_array(json_array(id, packet_count)) FROM observers");
    assert_eq!(all, format!(r#"[["{lower}",9]]"#));
    for table in ["observer_metrics", "dropped_packets"] {
        let id: String = bed.one(&format!("SELECT observer_id FROM {table}"));
        assert_eq!(id, lower, "{table}");
    }
    assert_eq!(bed.one::<String>("SELECT observer FROM meshbox_origins"), lower);
    assert_eq!(bed.one::<i64>("SELECT count FROM meshbox_origins"), 3);
}

#[test]
fn origins_tell_who_spoke_for_whom_since_when_and_how_often() {
    let mut bed = Bed::new();
    let by = |kind, name: &str, number, second| {
        with(packet(number, "A", second), |r| r.message.origin = Origin { kind, name: name.into() })
    };
    bed.store([
        by(OriginKind::Anonymous, "192.0.2.7", 1, 0),
        by(OriginKind::Anonymous, "192.0.2.7", 2, 1),
        by(OriginKind::Source, "region", 1, 2),
    ]);
    bed.store([by(OriginKind::Anonymous, "192.0.2.7", 3, 9)]);
    let all: String = bed.one(
        "SELECT json_group_array(json(row)) FROM (
           SELECT json_array(observer, kind, name, first_seen, last_seen, count) AS row
           FROM meshbox_origins ORDER BY kind)",
    );
    assert_eq!(
        all,
        r#"[["A","anonymous","192.0.2.7","2026-11-23T04:24:21Z","2026-11-23T04:24:30Z",3],["A","source","region","2026-11-23T04:24:23Z","2026-11-23T04:24:23Z",1]]"#
    );
}

#[test]
fn an_advert_writes_its_node_and_is_counted_once_a_transmission() {
    let mut bed = Bed::new();
    bed.store([with(advert(1, "k1", 0), |r| {
        let node = node(r);
        (node.name, node.lat, node.lon) = (Some("Peak".into()), Some(37.5), Some(-122.0));
        (node.battery_mv, node.temperature_c) = (Some(3_700), Some(28.5));
    })]);
    bed.store([advert(1, "k1", 3)]);
    bed.store([with(advert(2, "k1", 60), |r| node(r).temperature_c = Some(-5.5))]);
    let all: String = bed.one(
        "SELECT json_array(public_key, name, role, lat, lon, first_seen, last_seen, advert_count,
           battery_mv, temperature_c, foreign_advert, default_scope, multibyte_sup) FROM nodes",
    );
    assert_eq!(
        all,
        r#"["k1","Peak","repeater",37.5,-122.0,"2026-11-23T04:24:21Z","2026-11-23T04:25:21Z",2,3700,-5.5,0,null,0]"#
    );
}

#[test]
fn a_nodes_last_seen_never_goes_back_but_a_time_in_the_future_is_brought_back() {
    let mut bed = Bed::new();
    bed.clock.set(START_MS + 100_000);
    bed.store([advert(1, "k1", 100)]);
    bed.store([advert(2, "k1", 10)]);
    assert_eq!(bed.one::<String>("SELECT last_seen FROM nodes"), "2026-11-23T04:26:01Z");
    bed.other().execute("UPDATE nodes SET last_seen = '2036-01-01T00:00:00Z'", []).unwrap();
    bed.store([advert(3, "k1", 20)]);
    assert_eq!(bed.one::<String>("SELECT last_seen FROM nodes"), "2026-11-23T04:26:01Z");
}

#[test]
fn a_scope_reaches_the_node_and_its_inactive_row_and_stays() {
    let mut bed = Bed::new();
    bed.other().execute("INSERT INTO inactive_nodes (public_key) VALUES ('k1')", []).unwrap();
    bed.store([with(advert(1, "k1", 0), |r| node(r).default_scope = Some("#sjc".into()))]);
    bed.store([advert(2, "k1", 1)]);
    for table in ["nodes", "inactive_nodes"] {
        let scope: String = bed.one(&format!("SELECT default_scope FROM {table}"));
        assert_eq!(scope, "#sjc", "{table}");
    }
}

#[test]
fn nodes_that_were_not_heard_for_a_week_move_with_all_their_columns() {
    let mut bed = Bed::new();
    let names = |n: u64| format!("key{n:04}");
    bed.store(
        (0..600).map(|n| {
            with(advert(n, &names(n), 0), |r| node(r).default_scope = Some("#test".into()))
        }),
    );
    bed.other().execute("UPDATE nodes SET multibyte_evidence = 'seen'", []).unwrap();
    bed.store([advert(1_000, "young", 86_400)]);
    bed.clock.set(START_MS + 7 * DAY_MS + 1_000);
    eventually("600 nodes have moved", || (bed.count("inactive_nodes") == 600).then_some(()));
    assert_eq!(bed.one::<String>("SELECT group_concat(public_key) FROM nodes"), "young");
    let all: String = bed.one(
        "SELECT json_array(public_key, role, last_seen, advert_count, default_scope,
           multibyte_evidence) FROM inactive_nodes ORDER BY 1 LIMIT 1",
    );
    assert_eq!(all, r##"["key0000","repeater","2026-11-23T04:24:21Z",1,"#test","seen"]"##);
    assert_eq!(bed.counters.nodes_retired.get(), 600);
}

#[test]
fn a_dropped_advert_is_kept_and_leaves_its_observer_alone() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 0)]);
    bed.store([
        with(dropped("A", 60), |r| r.observer.as_mut().unwrap().name = Some("Roof".into())),
        dropped("STRANGER", 61),
    ]);
    let all: String = bed.one(
        "SELECT json_array(hash, raw_hex, reason, observer_id, observer_name, node_pubkey,
           node_name, dropped_at) FROM dropped_packets",
    );
    assert_eq!(
        all,
        r#"["0123456789abcdef","1100","invalid signature","A","Roof","ab","Eve","2026-11-23 04:25:21"]"#
    );
    let all: String = bed.one(
        "SELECT json_group_array(json_array(id, name, packet_count, last_seen)) FROM observers",
    );
    assert_eq!(all, r#"[["A",null,1,"2026-11-23T04:24:21Z"]]"#);
    let origins: String =
        bed.one("SELECT group_concat(observer || count) FROM meshbox_origins ORDER BY observer");
    assert_eq!(origins, "A2,STRANGER1");
    assert_eq!(bed.counters.sig_drops.get(), 2);
}

#[test]
fn dropped_packets_keeps_the_last_hundred_thousand() {
    let mut bed = Bed::new();
    bed.other()
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100008)
             INSERT INTO dropped_packets (reason) SELECT 'old' FROM n",
        )
        .unwrap();
    bed.store((0..3).map(|n| dropped("A", n)));
    assert_eq!(bed.count("dropped_packets"), 100_000);
    assert_eq!(bed.one::<i64>("SELECT COUNT(*) FROM dropped_packets WHERE reason <> 'old'"), 3);
}

#[test]
fn any_text_is_stored_as_it_is() {
    let mut bed = Bed::new();
    let odd = "'; DROP TABLE nodes;-- \0 \u{1F6F0} \"";
    bed.store([with(advert(1, odd, 0), |r| {
        node(r).name = Some(odd.into());
        row(r).path_json = odd.into();
        row(r).snr_db = Some(f64::NAN);
        r.observer = Some(observer(odd, Activity::Packet));
    })]);
    bed.store([with(advert(1, odd, 1), |r| row(r).path_json = odd.into())]);
    for sql in ["SELECT name FROM nodes", "SELECT path_json FROM observations"] {
        assert_eq!(bed.one::<String>(sql), odd, "{sql}");
    }
    assert_eq!(bed.one::<Option<f64>>("SELECT snr FROM observations"), None);
}
