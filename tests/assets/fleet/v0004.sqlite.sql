BEGIN TRANSACTION;
CREATE TABLE alarms (
	id INTEGER NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	subject VARCHAR(256) NOT NULL, 
	raised_s DOUBLE NOT NULL, 
	updated_s DOUBLE NOT NULL, 
	cleared_s DOUBLE, 
	raise_posted_s DOUBLE, 
	clear_posted_s DOUBLE, 
	text TEXT DEFAULT '' NOT NULL, 
	count BIGINT DEFAULT 0 NOT NULL, 
	subjects TEXT DEFAULT '[]' NOT NULL, 
	CONSTRAINT pk_alarms PRIMARY KEY (id)
);
INSERT INTO "alarms" VALUES(891000,'kind 0: ä''\;
','subject 0: ä''\;
',1528.25,1639.25,1616.25,2178.25,2165.25,'text 0: ä''\;
',1239000,'subjects 0: ä''\;
');
INSERT INTO "alarms" VALUES(891001,'kind 1: ä''\;
','subject 1: ä''\;
',1529.25,1640.25,1617.25,2179.25,2166.25,'text 1: ä''\;
',1239001,'subjects 1: ä''\;
');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	at_s BIGINT DEFAULT 0 NOT NULL, 
	who VARCHAR(128) DEFAULT '' NOT NULL, 
	how VARCHAR(16) NOT NULL, 
	address VARCHAR(64) DEFAULT '' NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	subject VARCHAR(256) DEFAULT '' NOT NULL, 
	"before" VARCHAR(2000) DEFAULT '' NOT NULL, 
	"after" VARCHAR(2000) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (id)
);
INSERT INTO "audit" VALUES(786000,1004000,'who 0: ä''\;
','how 0: ä''\;
','address 0: ä''\;
','action 0: ä''\;
','subject 0: ä''\;
','before 0: ä''\;
','after 0: ä''\;
');
INSERT INTO "audit" VALUES(786001,1004001,'who 1: ä''\;
','how 1: ä''\;
','address 1: ä''\;
','action 1: ä''\;
','subject 1: ä''\;
','before 1: ä''\;
','after 1: ä''\;
');
CREATE TABLE device_models (
	device VARCHAR(64) NOT NULL, 
	model VARCHAR(64) NOT NULL, 
	state VARCHAR(16) DEFAULT '' NOT NULL, 
	reason VARCHAR(64) DEFAULT '' NOT NULL, 
	detail VARCHAR(512) DEFAULT '' NOT NULL, 
	since_s BIGINT DEFAULT 0 NOT NULL, 
	changed_s BIGINT DEFAULT 0 NOT NULL, 
	active_version VARCHAR(64) DEFAULT '' NOT NULL, 
	active_sequence BIGINT DEFAULT 0 NOT NULL, 
	target_version VARCHAR(64) DEFAULT '' NOT NULL, 
	target_sequence BIGINT DEFAULT 0 NOT NULL, 
	deployment VARCHAR(64) DEFAULT '' NOT NULL, 
	group_name VARCHAR(128) DEFAULT '' NOT NULL, 
	floor BIGINT DEFAULT 0 NOT NULL, 
	saved_bytes BIGINT DEFAULT 0 NOT NULL, 
	status BLOB NOT NULL, 
	CONSTRAINT pk_device_models PRIMARY KEY (device, model)
);
INSERT INTO "device_models" VALUES('device 0: ä''\;
','model 0: ä''\;
','state 0: ä''\;
','reason 0: ä''\;
','detail 0: ä''\;
',2149000,2333000,'active_version 0: ä''\;
',2997000,'target_version 0: ä''\;
',3008000,'deployment 0: ä''\;
','group_name 0: ä''\;
',1955000,2586000,X'00275CFF0000275CFF0000275CFF00');
INSERT INTO "device_models" VALUES('device 1: ä''\;
','model 1: ä''\;
','state 1: ä''\;
','reason 1: ä''\;
','detail 1: ä''\;
',2149001,2333001,'active_version 1: ä''\;
',2997001,'target_version 1: ä''\;
',3008001,'deployment 1: ä''\;
','group_name 1: ä''\;
',1955001,2586001,X'00275CFF0100275CFF0100275CFF01');
CREATE TABLE device_tags (
	device VARCHAR(64) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	value VARCHAR(128) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_device_tags PRIMARY KEY (device, "key")
);
INSERT INTO "device_tags" VALUES('device 0: ä''\;
','key 0: ä''\;
','value 0: ä''\;
');
INSERT INTO "device_tags" VALUES('device 1: ä''\;
','key 1: ä''\;
','value 1: ä''\;
');
CREATE TABLE devices (
	id VARCHAR(64) NOT NULL, 
	first_seen_s BIGINT DEFAULT 0 NOT NULL, 
	seen_s BIGINT DEFAULT 0 NOT NULL, 
	counter BIGINT DEFAULT 0 NOT NULL, 
	status_sha256 BLOB, 
	status_at_s BIGINT DEFAULT 0 NOT NULL, 
	status_heard_s BIGINT, 
	clock VARCHAR(64) DEFAULT '' NOT NULL, 
	clock_off_s BIGINT, 
	tags TEXT DEFAULT '{}' NOT NULL, 
	software VARCHAR(128) DEFAULT '' NOT NULL, 
	runtime VARCHAR(128) DEFAULT '' NOT NULL, 
	machine VARCHAR(128) DEFAULT '' NOT NULL, 
	memory_bytes BIGINT DEFAULT 0 NOT NULL, 
	disk_free_bytes BIGINT DEFAULT 0 NOT NULL, 
	link TEXT, 
	online BOOLEAN DEFAULT false NOT NULL, 
	online_since_s BIGINT DEFAULT 0 NOT NULL, 
	session VARCHAR(128) DEFAULT '' NOT NULL, 
	presence_at_s BIGINT DEFAULT 0 NOT NULL, 
	metrics_counter BIGINT DEFAULT 0 NOT NULL, 
	metrics_lost BIGINT DEFAULT 0 NOT NULL, 
	twins_seen_s BIGINT, 
	twins_why VARCHAR(256) DEFAULT '' NOT NULL, 
	started_anew_s BIGINT, 
	intake BLOB, 
	CONSTRAINT pk_devices PRIMARY KEY (id)
);
INSERT INTO "devices" VALUES('id 0: ä''\;
',2069000,1422000,1553000,X'00275CFF0000275CFF0000275CFF00',1979000,2282000,'clock 0: ä''\;
',NULL,'tags 0: ä''\;
','software 0: ä''\;
','runtime 0: ä''\;
','machine 0: ä''\;
',2096000,2371000,'link 0: ä''\;
',0,2265000,'session 0: ä''\;
',2156000,2407000,2089000,2082000,'twins_why 0: ä''\;
',2276000,X'00275CFF0000275CFF0000275CFF00');
INSERT INTO "devices" VALUES('id 1: ä''\;
',2069001,1422001,1553001,X'00275CFF0100275CFF0100275CFF01',1979001,2282001,'clock 1: ä''\;
',120,'tags 1: ä''\;
','software 1: ä''\;
','runtime 1: ä''\;
','machine 1: ä''\;
',2096001,2371001,'link 1: ä''\;
',1,2265001,'session 1: ä''\;
',2156001,2407001,2089001,2082001,'twins_why 1: ä''\;
',2276001,X'00275CFF0100275CFF0100275CFF01');
INSERT INTO "devices" VALUES('id 2: ä''\;
',2069002,1422002,1553002,X'00275CFF0200275CFF0200275CFF02',1979002,2282002,'clock 2: ä''\;
',121,'tags 2: ä''\;
','software 2: ä''\;
','runtime 2: ä''\;
','machine 2: ä''\;
',2096002,2371002,'link 2: ä''\;
',0,2265002,'session 2: ä''\;
',2156002,2407002,2089002,2082002,'twins_why 2: ä''\;
',2276002,X'00275CFF0200275CFF0200275CFF02');
INSERT INTO "devices" VALUES('id 3: ä''\;
',2069003,1422003,1553003,X'00275CFF0300275CFF0300275CFF03',1979003,2282003,'clock 3: ä''\;
',-7200,'tags 3: ä''\;
','software 3: ä''\;
','runtime 3: ä''\;
','machine 3: ä''\;
',2096003,2371003,'link 3: ä''\;
',1,2265003,'session 3: ä''\;
',2156003,2407003,2089003,2082003,'twins_why 3: ä''\;
',2276003,X'00275CFF0300275CFF0300275CFF03');
CREATE TABLE dropped (
	reason VARCHAR(64) NOT NULL, 
	count BIGINT DEFAULT 0 NOT NULL, 
	last_s BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_dropped PRIMARY KEY (reason)
);
INSERT INTO "dropped" VALUES('reason 0: ä''\;
',1349000,1442000);
INSERT INTO "dropped" VALUES('reason 1: ä''\;
',1349001,1442001);
CREATE TABLE gate_answers (
	rollout VARCHAR(64) NOT NULL, 
	question VARCHAR(256) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	answer VARCHAR(16) DEFAULT '' NOT NULL, 
	why VARCHAR(512) DEFAULT '' NOT NULL, 
	at_s BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_gate_answers PRIMARY KEY (rollout, question, kind)
);
INSERT INTO "gate_answers" VALUES('rollout 0: ä''\;
','question 0: ä''\;
','kind 0: ä''\;
','answer 0: ä''\;
','why 0: ä''\;
',1752000);
INSERT INTO "gate_answers" VALUES('rollout 1: ä''\;
','question 1: ä''\;
','kind 1: ä''\;
','answer 1: ä''\;
','why 1: ä''\;
',1752001);
CREATE TABLE history (
	id INTEGER NOT NULL, 
	at_s BIGINT DEFAULT 0 NOT NULL, 
	device_at_s BIGINT DEFAULT 0 NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	model VARCHAR(64) NOT NULL, 
	state VARCHAR(16) DEFAULT '' NOT NULL, 
	reason VARCHAR(64) DEFAULT '' NOT NULL, 
	detail VARCHAR(512) DEFAULT '' NOT NULL, 
	version VARCHAR(64) DEFAULT '' NOT NULL, 
	sequence BIGINT DEFAULT 0 NOT NULL, 
	target_version VARCHAR(64) DEFAULT '' NOT NULL, 
	target_sequence BIGINT DEFAULT 0 NOT NULL, 
	deployment VARCHAR(64) DEFAULT '' NOT NULL, 
	evidence BLOB, 
	CONSTRAINT pk_history PRIMARY KEY (id)
);
INSERT INTO "history" VALUES(1037000,1255000,1974000,'device 0: ä''\;
','model 0: ä''\;
','state 0: ä''\;
','reason 0: ä''\;
','detail 0: ä''\;
','version 0: ä''\;
',1689000,'target_version 0: ä''\;
',2431000,'deployment 0: ä''\;
',X'00275CFF0000275CFF0000275CFF00');
INSERT INTO "history" VALUES(1037001,1255001,1974001,'device 1: ä''\;
','model 1: ä''\;
','state 1: ä''\;
','reason 1: ä''\;
','detail 1: ä''\;
','version 1: ä''\;
',1689001,'target_version 1: ä''\;
',2431001,'deployment 1: ä''\;
',X'00275CFF0100275CFF0100275CFF01');
CREATE TABLE idempotency (
	who VARCHAR(128) NOT NULL, 
	"key" VARCHAR(128) NOT NULL, 
	request_sha256 BLOB NOT NULL, 
	status INTEGER NOT NULL, 
	headers TEXT DEFAULT '{}' NOT NULL, 
	body BLOB NOT NULL, 
	at_s BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_idempotency PRIMARY KEY (who, "key")
);
INSERT INTO "idempotency" VALUES('who 0: ä''\;
','key 0: ä''\;
',X'00275CFF0000275CFF0000275CFF00',1907000,'headers 0: ä''\;
',X'00275CFF0000275CFF0000275CFF00',1654000);
INSERT INTO "idempotency" VALUES('who 1: ä''\;
','key 1: ä''\;
',X'00275CFF0100275CFF0100275CFF01',1907001,'headers 1: ä''\;
',X'00275CFF0100275CFF0100275CFF01',1654001);
CREATE TABLE leases (
	name VARCHAR(64) NOT NULL, 
	holder VARCHAR(128) NOT NULL, 
	until_s DOUBLE NOT NULL, 
	term BIGINT NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (name)
);
INSERT INTO "leases" VALUES('name 0: ä''\;
','holder 0: ä''\;
',1449.25,1123000);
INSERT INTO "leases" VALUES('name 1: ä''\;
','holder 1: ä''\;
',1450.25,1123001);
CREATE TABLE links (
	secret_sha256 BLOB NOT NULL, 
	user VARCHAR(64) DEFAULT '' NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	made_by VARCHAR(128) DEFAULT '' NOT NULL, 
	made_s BIGINT DEFAULT 0 NOT NULL, 
	ends_s BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_links PRIMARY KEY (secret_sha256)
);
INSERT INTO "links" VALUES(X'00275CFF0000275CFF0000275CFF00','user 0: ä''\;
','role 0: ä''\;
','made_by 0: ä''\;
',1208000,1227000);
INSERT INTO "links" VALUES(X'00275CFF0100275CFF0100275CFF01','user 1: ä''\;
','role 1: ä''\;
','made_by 1: ä''\;
',1208001,1227001);
CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('key 0: ä''\;
','value 0: ä''\;
');
INSERT INTO "meta" VALUES('key 1: ä''\;
','value 1: ä''\;
');
CREATE TABLE metrics (
	device VARCHAR(64) NOT NULL, 
	counter BIGINT NOT NULL, 
	number INTEGER NOT NULL, 
	model VARCHAR(64) NOT NULL, 
	version VARCHAR(64) DEFAULT '' NOT NULL, 
	sequence BIGINT DEFAULT 0 NOT NULL, 
	heard_s BIGINT DEFAULT 0 NOT NULL, 
	start_s BIGINT DEFAULT 0 NOT NULL, 
	end_s BIGINT DEFAULT 0 NOT NULL, 
	on_trial BOOLEAN DEFAULT false NOT NULL, 
	requests BIGINT DEFAULT 0 NOT NULL, 
	errors BIGINT DEFAULT 0 NOT NULL, 
	figures BLOB NOT NULL, 
	is_folded BOOLEAN DEFAULT false NOT NULL, 
	CONSTRAINT pk_metrics PRIMARY KEY (device, counter, number)
)
 WITHOUT ROWID

;
INSERT INTO "metrics" VALUES('device 0: ä''\;
',1573000,1454000,'model 0: ä''\;
','version 0: ä''\;
',1662000,1531000,1573000,1326000,0,1697000,1474000,X'00275CFF0000275CFF0000275CFF00',0);
INSERT INTO "metrics" VALUES('device 1: ä''\;
',1573001,1454001,'model 1: ä''\;
','version 1: ä''\;
',1662001,1531001,1573001,1326001,1,1697001,1474001,X'00275CFF0100275CFF0100275CFF01',1);
CREATE TABLE metrics_hours (
	device VARCHAR(64) NOT NULL, 
	model VARCHAR(64) NOT NULL, 
	sequence BIGINT NOT NULL, 
	hour_s BIGINT NOT NULL, 
	requests BIGINT DEFAULT 0 NOT NULL, 
	errors BIGINT DEFAULT 0 NOT NULL, 
	figures BLOB NOT NULL, 
	CONSTRAINT pk_metrics_hours PRIMARY KEY (device, model, sequence, hour_s)
)
 WITHOUT ROWID

;
INSERT INTO "metrics_hours" VALUES('device 0: ä''\;
','model 0: ä''\;
',2318000,2117000,2353000,2130000,X'00275CFF0000275CFF0000275CFF00');
INSERT INTO "metrics_hours" VALUES('device 1: ä''\;
','model 1: ä''\;
',2318001,2117001,2353001,2130001,X'00275CFF0100275CFF0100275CFF01');
CREATE TABLE metrics_releases (
	device VARCHAR(64) NOT NULL, 
	model VARCHAR(64) NOT NULL, 
	sequence BIGINT NOT NULL, 
	version VARCHAR(64) DEFAULT '' NOT NULL, 
	first_s BIGINT DEFAULT 0 NOT NULL, 
	last_s BIGINT DEFAULT 0 NOT NULL, 
	requests BIGINT DEFAULT 0 NOT NULL, 
	errors BIGINT DEFAULT 0 NOT NULL, 
	figures BLOB NOT NULL, 
	CONSTRAINT pk_metrics_releases PRIMARY KEY (device, model, sequence)
)
 WITHOUT ROWID

;
INSERT INTO "metrics_releases" VALUES('device 0: ä''\;
','model 0: ä''\;
',2609000,'version 0: ä''\;
',2514000,2398000,2644000,2421000,X'00275CFF0000275CFF0000275CFF00');
INSERT INTO "metrics_releases" VALUES('device 1: ä''\;
','model 1: ä''\;
',2609001,'version 1: ä''\;
',2514001,2398001,2644001,2421001,X'00275CFF0100275CFF0100275CFF01');
CREATE TABLE notes (
	id INTEGER NOT NULL, 
	at_s BIGINT DEFAULT 0 NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	subject VARCHAR(192) NOT NULL, 
	who VARCHAR(128) DEFAULT '' NOT NULL, 
	text VARCHAR(2000) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_notes PRIMARY KEY (id)
);
INSERT INTO "notes" VALUES(804000,1022000,'kind 0: ä''\;
','subject 0: ä''\;
','who 0: ä''\;
','text 0: ä''\;
');
INSERT INTO "notes" VALUES(804001,1022001,'kind 1: ä''\;
','subject 1: ä''\;
','who 1: ä''\;
','text 1: ä''\;
');
CREATE TABLE release_figures (
	model VARCHAR(64) NOT NULL, 
	sequence BIGINT NOT NULL, 
	version VARCHAR(64) DEFAULT '' NOT NULL, 
	first_s BIGINT DEFAULT 0 NOT NULL, 
	last_s BIGINT DEFAULT 0 NOT NULL, 
	requests BIGINT DEFAULT 0 NOT NULL, 
	errors BIGINT DEFAULT 0 NOT NULL, 
	figures BLOB NOT NULL, 
	CONSTRAINT pk_release_figures PRIMARY KEY (model, sequence)
);
INSERT INTO "release_figures" VALUES('model 0: ä''\;
',2492000,'version 0: ä''\;
',2397000,2281000,2527000,2304000,X'00275CFF0000275CFF0000275CFF00');
INSERT INTO "release_figures" VALUES('model 1: ä''\;
',2492001,'version 1: ä''\;
',2397001,2281001,2527001,2304001,X'00275CFF0100275CFF0100275CFF01');
CREATE TABLE release_hours (
	model VARCHAR(64) NOT NULL, 
	sequence BIGINT NOT NULL, 
	hour_s BIGINT NOT NULL, 
	requests BIGINT DEFAULT 0 NOT NULL, 
	errors BIGINT DEFAULT 0 NOT NULL, 
	figures BLOB NOT NULL, 
	CONSTRAINT pk_release_hours PRIMARY KEY (model, sequence, hour_s)
);
INSERT INTO "release_hours" VALUES('model 0: ä''\;
',2296000,2095000,2331000,2108000,X'00275CFF0000275CFF0000275CFF00');
INSERT INTO "release_hours" VALUES('model 1: ä''\;
',2296001,2095001,2331001,2108001,X'00275CFF0100275CFF0100275CFF01');
CREATE TABLE requests (
	id VARCHAR(64) NOT NULL, 
	model VARCHAR(64) NOT NULL, 
	rollout VARCHAR(64) NOT NULL, 
	who VARCHAR(128) DEFAULT '' NOT NULL, 
	wish VARCHAR(32) DEFAULT '' NOT NULL, 
	arguments TEXT DEFAULT '{}' NOT NULL, 
	at_s BIGINT DEFAULT 0 NOT NULL, 
	done_s BIGINT, 
	answer VARCHAR(512) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_requests PRIMARY KEY (id)
);
INSERT INTO "requests" VALUES('id 0: ä''\;
','model 0: ä''\;
','rollout 0: ä''\;
','who 0: ä''\;
','wish 0: ä''\;
','arguments 0: ä''\;
',1361000,1570000,'answer 0: ä''\;
');
INSERT INTO "requests" VALUES('id 1: ä''\;
','model 1: ä''\;
','rollout 1: ä''\;
','who 1: ä''\;
','wish 1: ä''\;
','arguments 1: ä''\;
',1361001,1570001,'answer 1: ä''\;
');
CREATE TABLE rollout_log (
	id INTEGER NOT NULL, 
	at_s BIGINT DEFAULT 0 NOT NULL, 
	model VARCHAR(64) NOT NULL, 
	rollout VARCHAR(64) NOT NULL, 
	group_name VARCHAR(128) DEFAULT '' NOT NULL, 
	word VARCHAR(64) DEFAULT '' NOT NULL, 
	text TEXT DEFAULT '' NOT NULL, 
	who VARCHAR(128) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_rollout_log PRIMARY KEY (id)
);
INSERT INTO "rollout_log" VALUES(1453000,1671000,'model 0: ä''\;
','rollout 0: ä''\;
','group_name 0: ä''\;
','word 0: ä''\;
','text 0: ä''\;
','who 0: ä''\;
');
INSERT INTO "rollout_log" VALUES(1453001,1671001,'model 1: ä''\;
','rollout 1: ä''\;
','group_name 1: ä''\;
','word 1: ä''\;
','text 1: ä''\;
','who 1: ä''\;
');
CREATE TABLE rollout_views (
	model VARCHAR(64) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	at_s BIGINT DEFAULT 0 NOT NULL, 
	"view" TEXT NOT NULL, 
	CONSTRAINT pk_rollout_views PRIMARY KEY (model, name)
);
INSERT INTO "rollout_views" VALUES('model 0: ä''\;
','name 0: ä''\;
',1907000,'view 0: ä''\;
');
INSERT INTO "rollout_views" VALUES('model 1: ä''\;
','name 1: ä''\;
',1907001,'view 1: ä''\;
');
CREATE TABLE rollouts (
	model VARCHAR(64) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	state VARCHAR(16) DEFAULT '' NOT NULL, 
	record TEXT NOT NULL, 
	updated_s BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_rollouts PRIMARY KEY (model, name)
);
INSERT INTO "rollouts" VALUES('model 0: ä''\;
','name 0: ä''\;
','state 0: ä''\;
','record 0: ä''\;
',1899000);
INSERT INTO "rollouts" VALUES('model 1: ä''\;
','name 1: ä''\;
','state 1: ä''\;
','record 1: ä''\;
',1899001);
CREATE TABLE sessions (
	secret_sha256 BLOB NOT NULL, 
	user VARCHAR(64) NOT NULL, 
	made_s BIGINT DEFAULT 0 NOT NULL, 
	seen_s BIGINT DEFAULT 0 NOT NULL, 
	ends_s BIGINT DEFAULT 0 NOT NULL, 
	address VARCHAR(64) DEFAULT '' NOT NULL, 
	agent VARCHAR(256) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (secret_sha256)
);
INSERT INTO "sessions" VALUES(X'00275CFF0000275CFF0000275CFF00','user 0: ä''\;
',1550000,1570000,1569000,'address 0: ä''\;
','agent 0: ä''\;
');
INSERT INTO "sessions" VALUES(X'00275CFF0100275CFF0100275CFF01','user 1: ä''\;
',1550001,1570001,1569001,'address 1: ä''\;
','agent 1: ä''\;
');
CREATE TABLE tokens (
	id VARCHAR(16) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	secret_sha256 BLOB NOT NULL, 
	scope TEXT NOT NULL, 
	made_by VARCHAR(128) DEFAULT '' NOT NULL, 
	made_s BIGINT DEFAULT 0 NOT NULL, 
	ends_s BIGINT DEFAULT 0 NOT NULL, 
	used_s BIGINT, 
	revoked_s BIGINT, 
	CONSTRAINT pk_tokens PRIMARY KEY (id)
);
INSERT INTO "tokens" VALUES('id 0: ä''\;
','name 0: ä''\;
',X'00275CFF0000275CFF0000275CFF00','scope 0: ä''\;
','made_by 0: ä''\;
',1323000,1342000,1349000,1668000);
INSERT INTO "tokens" VALUES('id 1: ä''\;
','name 1: ä''\;
',X'00275CFF0100275CFF0100275CFF01','scope 1: ä''\;
','made_by 1: ä''\;
',1323001,1342001,1349001,1668001);
CREATE TABLE users (
	name VARCHAR(64) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	password_hash TEXT DEFAULT '' NOT NULL, 
	made_s BIGINT DEFAULT 0 NOT NULL, 
	password_s BIGINT, 
	signed_in_s BIGINT, 
	CONSTRAINT pk_users PRIMARY KEY (name)
);
INSERT INTO "users" VALUES('name 0: ä''\;
','role 0: ä''\;
','password_hash 0: ä''\;
',1225000,1701000,1762000);
INSERT INTO "users" VALUES('name 1: ä''\;
','role 1: ä''\;
','password_hash 1: ä''\;
',1225001,1701001,1762001);
CREATE INDEX ix_device_tags_key_value ON device_tags ("key", value);
CREATE INDEX ix_history_at_s ON history (at_s);
CREATE INDEX ix_history_device_at_s ON history (device, at_s);
CREATE INDEX ix_history_model_at_s ON history (model, at_s);
CREATE INDEX ix_metrics_device_model_heard_s ON metrics (device, model, heard_s);
CREATE INDEX ix_metrics_heard_s ON metrics (heard_s);
CREATE INDEX ix_metrics_unfolded ON metrics (heard_s) WHERE NOT is_folded;
CREATE INDEX ix_metrics_hours_hour_s ON metrics_hours (hour_s);
CREATE INDEX ix_metrics_releases_last_s ON metrics_releases (last_s);
CREATE INDEX ix_metrics_releases_model_sequence ON metrics_releases (model, sequence);
CREATE INDEX ix_rollout_log_at_s ON rollout_log (at_s);
CREATE INDEX ix_rollout_log_rollout_id ON rollout_log (rollout, id);
CREATE INDEX ix_requests_rollout_at_s ON requests (rollout, at_s);
CREATE INDEX ix_alarms_cleared_s ON alarms (cleared_s);
CREATE UNIQUE INDEX ix_alarms_standing ON alarms (kind, subject) WHERE cleared_s IS NULL;
CREATE INDEX ix_release_figures_last_s ON release_figures (last_s);
CREATE INDEX ix_release_hours_hour_s ON release_hours (hour_s);
CREATE INDEX ix_device_models_state ON device_models (model, state, reason);
CREATE INDEX ix_device_models_release ON device_models (model, active_sequence, active_version);
CREATE INDEX ix_device_models_deployment ON device_models (deployment, group_name);
CREATE INDEX ix_device_models_changed ON device_models (model, changed_s);
CREATE INDEX ix_sessions_user ON sessions (user);
CREATE INDEX ix_audit_at_s ON audit (at_s);
CREATE INDEX ix_notes_kind_subject ON notes (kind, subject);
CREATE INDEX ix_idempotency_at_s ON idempotency (at_s);
COMMIT;
