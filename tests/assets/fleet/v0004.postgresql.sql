CREATE TABLE public.alarms (
    id bigint NOT NULL,
    kind character varying(64) NOT NULL,
    subject character varying(256) NOT NULL,
    raised_s double precision NOT NULL,
    updated_s double precision NOT NULL,
    cleared_s double precision,
    raise_posted_s double precision,
    clear_posted_s double precision,
    text text DEFAULT ''::text NOT NULL,
    count bigint DEFAULT 0 NOT NULL,
    subjects text DEFAULT '[]'::text NOT NULL
);
CREATE SEQUENCE public.alarms_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.alarms_id_seq OWNED BY public.alarms.id;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.audit (
    id bigint NOT NULL,
    at_s bigint DEFAULT 0 NOT NULL,
    who character varying(128) DEFAULT ''::character varying NOT NULL,
    how character varying(16) NOT NULL,
    address character varying(64) DEFAULT ''::character varying NOT NULL,
    action character varying(64) NOT NULL,
    subject character varying(256) DEFAULT ''::character varying NOT NULL,
    before character varying(2000) DEFAULT ''::character varying NOT NULL,
    after character varying(2000) DEFAULT ''::character varying NOT NULL
);
CREATE SEQUENCE public.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_id_seq OWNED BY public.audit.id;
CREATE TABLE public.device_models (
    device character varying(64) NOT NULL,
    model character varying(64) NOT NULL,
    state character varying(16) DEFAULT ''::character varying NOT NULL,
    reason character varying(64) DEFAULT ''::character varying NOT NULL,
    detail character varying(512) DEFAULT ''::character varying NOT NULL,
    since_s bigint DEFAULT 0 NOT NULL,
    changed_s bigint DEFAULT 0 NOT NULL,
    active_version character varying(64) DEFAULT ''::character varying NOT NULL,
    active_sequence bigint DEFAULT 0 NOT NULL,
    target_version character varying(64) DEFAULT ''::character varying NOT NULL,
    target_sequence bigint DEFAULT 0 NOT NULL,
    deployment character varying(64) DEFAULT ''::character varying NOT NULL,
    group_name character varying(128) DEFAULT ''::character varying NOT NULL,
    floor bigint DEFAULT 0 NOT NULL,
    saved_bytes bigint DEFAULT 0 NOT NULL,
    status bytea NOT NULL
);
CREATE TABLE public.device_tags (
    device character varying(64) NOT NULL,
    key character varying(64) NOT NULL,
    value character varying(128) DEFAULT ''::character varying NOT NULL
);
CREATE TABLE public.devices (
    id character varying(64) NOT NULL,
    first_seen_s bigint DEFAULT 0 NOT NULL,
    seen_s bigint DEFAULT 0 NOT NULL,
    counter bigint DEFAULT 0 NOT NULL,
    status_sha256 bytea,
    status_at_s bigint DEFAULT 0 NOT NULL,
    status_heard_s bigint,
    clock character varying(64) DEFAULT ''::character varying NOT NULL,
    clock_off_s bigint,
    tags text DEFAULT '{}'::text NOT NULL,
    software character varying(128) DEFAULT ''::character varying NOT NULL,
    runtime character varying(128) DEFAULT ''::character varying NOT NULL,
    machine character varying(128) DEFAULT ''::character varying NOT NULL,
    memory_bytes bigint DEFAULT 0 NOT NULL,
    disk_free_bytes bigint DEFAULT 0 NOT NULL,
    link text,
    online boolean DEFAULT false NOT NULL,
    online_since_s bigint DEFAULT 0 NOT NULL,
    session character varying(128) DEFAULT ''::character varying NOT NULL,
    presence_at_s bigint DEFAULT 0 NOT NULL,
    metrics_counter bigint DEFAULT 0 NOT NULL,
    metrics_lost bigint DEFAULT 0 NOT NULL,
    twins_seen_s bigint,
    twins_why character varying(256) DEFAULT ''::character varying NOT NULL,
    started_anew_s bigint,
    intake bytea
);
CREATE TABLE public.dropped (
    reason character varying(64) NOT NULL,
    count bigint DEFAULT 0 NOT NULL,
    last_s bigint DEFAULT 0 NOT NULL
);
CREATE TABLE public.gate_answers (
    rollout character varying(64) NOT NULL,
    question character varying(256) NOT NULL,
    kind character varying(16) NOT NULL,
    answer character varying(16) DEFAULT ''::character varying NOT NULL,
    why character varying(512) DEFAULT ''::character varying NOT NULL,
    at_s bigint DEFAULT 0 NOT NULL
);
CREATE TABLE public.history (
    id bigint NOT NULL,
    at_s bigint DEFAULT 0 NOT NULL,
    device_at_s bigint DEFAULT 0 NOT NULL,
    device character varying(64) NOT NULL,
    model character varying(64) NOT NULL,
    state character varying(16) DEFAULT ''::character varying NOT NULL,
    reason character varying(64) DEFAULT ''::character varying NOT NULL,
    detail character varying(512) DEFAULT ''::character varying NOT NULL,
    version character varying(64) DEFAULT ''::character varying NOT NULL,
    sequence bigint DEFAULT 0 NOT NULL,
    target_version character varying(64) DEFAULT ''::character varying NOT NULL,
    target_sequence bigint DEFAULT 0 NOT NULL,
    deployment character varying(64) DEFAULT ''::character varying NOT NULL,
    evidence bytea
);
CREATE SEQUENCE public.history_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.history_id_seq OWNED BY public.history.id;
CREATE TABLE public.idempotency (
    who character varying(128) NOT NULL,
    key character varying(128) NOT NULL,
    request_sha256 bytea NOT NULL,
    status integer NOT NULL,
    headers text DEFAULT '{}'::text NOT NULL,
    body bytea NOT NULL,
    at_s bigint DEFAULT 0 NOT NULL
);
CREATE TABLE public.leases (
    name character varying(64) NOT NULL,
    holder character varying(128) NOT NULL,
    until_s double precision NOT NULL,
    term bigint NOT NULL
);
CREATE TABLE public.links (
    secret_sha256 bytea NOT NULL,
    "user" character varying(64) DEFAULT ''::character varying NOT NULL,
    role character varying(16) NOT NULL,
    made_by character varying(128) DEFAULT ''::character varying NOT NULL,
    made_s bigint DEFAULT 0 NOT NULL,
    ends_s bigint DEFAULT 0 NOT NULL
);
CREATE TABLE public.meta (
    key character varying(64) NOT NULL,
    value text NOT NULL
);
CREATE TABLE public.metrics (
    device character varying(64) NOT NULL,
    counter bigint NOT NULL,
    number integer NOT NULL,
    model character varying(64) NOT NULL,
    version character varying(64) DEFAULT ''::character varying NOT NULL,
    sequence bigint DEFAULT 0 NOT NULL,
    heard_s bigint DEFAULT 0 NOT NULL,
    start_s bigint DEFAULT 0 NOT NULL,
    end_s bigint DEFAULT 0 NOT NULL,
    on_trial boolean DEFAULT false NOT NULL,
    requests bigint DEFAULT 0 NOT NULL,
    errors bigint DEFAULT 0 NOT NULL,
    figures bytea NOT NULL,
    is_folded boolean DEFAULT false NOT NULL
);
CREATE TABLE public.metrics_hours (
    device character varying(64) NOT NULL,
    model character varying(64) NOT NULL,
    sequence bigint NOT NULL,
    hour_s bigint NOT NULL,
    requests bigint DEFAULT 0 NOT NULL,
    errors bigint DEFAULT 0 NOT NULL,
    figures bytea NOT NULL
);
CREATE TABLE public.metrics_releases (
    device character varying(64) NOT NULL,
    model character varying(64) NOT NULL,
    sequence bigint NOT NULL,
    version character varying(64) DEFAULT ''::character varying NOT NULL,
    first_s bigint DEFAULT 0 NOT NULL,
    last_s bigint DEFAULT 0 NOT NULL,
    requests bigint DEFAULT 0 NOT NULL,
    errors bigint DEFAULT 0 NOT NULL,
    figures bytea NOT NULL
);
CREATE TABLE public.notes (
    id bigint NOT NULL,
    at_s bigint DEFAULT 0 NOT NULL,
    kind character varying(16) NOT NULL,
    subject character varying(192) NOT NULL,
    who character varying(128) DEFAULT ''::character varying NOT NULL,
    text character varying(2000) DEFAULT ''::character varying NOT NULL
);
CREATE SEQUENCE public.notes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.notes_id_seq OWNED BY public.notes.id;
CREATE TABLE public.release_figures (
    model character varying(64) NOT NULL,
    sequence bigint NOT NULL,
    version character varying(64) DEFAULT ''::character varying NOT NULL,
    first_s bigint DEFAULT 0 NOT NULL,
    last_s bigint DEFAULT 0 NOT NULL,
    requests bigint DEFAULT 0 NOT NULL,
    errors bigint DEFAULT 0 NOT NULL,
    figures bytea NOT NULL
);
CREATE TABLE public.release_hours (
    model character varying(64) NOT NULL,
    sequence bigint NOT NULL,
    hour_s bigint NOT NULL,
    requests bigint DEFAULT 0 NOT NULL,
    errors bigint DEFAULT 0 NOT NULL,
    figures bytea NOT NULL
);
CREATE TABLE public.requests (
    id character varying(64) NOT NULL,
    model character varying(64) NOT NULL,
    rollout character varying(64) NOT NULL,
    who character varying(128) DEFAULT ''::character varying NOT NULL,
    wish character varying(32) DEFAULT ''::character varying NOT NULL,
    arguments text DEFAULT '{}'::text NOT NULL,
    at_s bigint DEFAULT 0 NOT NULL,
    done_s bigint,
    answer character varying(512) DEFAULT ''::character varying NOT NULL
);
CREATE TABLE public.rollout_log (
    id bigint NOT NULL,
    at_s bigint DEFAULT 0 NOT NULL,
    model character varying(64) NOT NULL,
    rollout character varying(64) NOT NULL,
    group_name character varying(128) DEFAULT ''::character varying NOT NULL,
    word character varying(64) DEFAULT ''::character varying NOT NULL,
    text text DEFAULT ''::text NOT NULL,
    who character varying(128) DEFAULT ''::character varying NOT NULL
);
CREATE SEQUENCE public.rollout_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.rollout_log_id_seq OWNED BY public.rollout_log.id;
CREATE TABLE public.rollout_views (
    model character varying(64) NOT NULL,
    name character varying(64) NOT NULL,
    at_s bigint DEFAULT 0 NOT NULL,
    view text NOT NULL
);
CREATE TABLE public.rollouts (
    model character varying(64) NOT NULL,
    name character varying(64) NOT NULL,
    state character varying(16) DEFAULT ''::character varying NOT NULL,
    record text NOT NULL,
    updated_s bigint DEFAULT 0 NOT NULL
);
CREATE TABLE public.sessions (
    secret_sha256 bytea NOT NULL,
    "user" character varying(64) NOT NULL,
    made_s bigint DEFAULT 0 NOT NULL,
    seen_s bigint DEFAULT 0 NOT NULL,
    ends_s bigint DEFAULT 0 NOT NULL,
    address character varying(64) DEFAULT ''::character varying NOT NULL,
    agent character varying(256) DEFAULT ''::character varying NOT NULL
);
CREATE TABLE public.tokens (
    id character varying(16) NOT NULL,
    name character varying(64) NOT NULL,
    secret_sha256 bytea NOT NULL,
    scope text NOT NULL,
    made_by character varying(128) DEFAULT ''::character varying NOT NULL,
    made_s bigint DEFAULT 0 NOT NULL,
    ends_s bigint DEFAULT 0 NOT NULL,
    used_s bigint,
    revoked_s bigint
);
CREATE TABLE public.users (
    name character varying(64) NOT NULL,
    role character varying(16) NOT NULL,
    password_hash text DEFAULT ''::text NOT NULL,
    made_s bigint DEFAULT 0 NOT NULL,
    password_s bigint,
    signed_in_s bigint
);
ALTER TABLE ONLY public.alarms ALTER COLUMN id SET DEFAULT nextval('public.alarms_id_seq'::regclass);
ALTER TABLE ONLY public.audit ALTER COLUMN id SET DEFAULT nextval('public.audit_id_seq'::regclass);
ALTER TABLE ONLY public.history ALTER COLUMN id SET DEFAULT nextval('public.history_id_seq'::regclass);
ALTER TABLE ONLY public.notes ALTER COLUMN id SET DEFAULT nextval('public.notes_id_seq'::regclass);
ALTER TABLE ONLY public.rollout_log ALTER COLUMN id SET DEFAULT nextval('public.rollout_log_id_seq'::regclass);
INSERT INTO public.alarms VALUES (891000, 'kind 0: ä''\;
', 'subject 0: ä''\;
', 1528.25, 1639.25, 1616.25, 2178.25, 2165.25, 'text 0: ä''\;
', 1239000, 'subjects 0: ä''\;
');
INSERT INTO public.alarms VALUES (891001, 'kind 1: ä''\;
', 'subject 1: ä''\;
', 1529.25, 1640.25, 1617.25, 2179.25, 2166.25, 'text 1: ä''\;
', 1239001, 'subjects 1: ä''\;
');
INSERT INTO public.alembic_version VALUES ('0004');
INSERT INTO public.audit VALUES (786000, 1004000, 'who 0: ä''\;
', 'how 0: ä''\;
', 'address 0: ä''\;
', 'action 0: ä''\;
', 'subject 0: ä''\;
', 'before 0: ä''\;
', 'after 0: ä''\;
');
INSERT INTO public.audit VALUES (786001, 1004001, 'who 1: ä''\;
', 'how 1: ä''\;
', 'address 1: ä''\;
', 'action 1: ä''\;
', 'subject 1: ä''\;
', 'before 1: ä''\;
', 'after 1: ä''\;
');
INSERT INTO public.device_models VALUES ('device 0: ä''\;
', 'model 0: ä''\;
', 'state 0: ä''\;
', 'reason 0: ä''\;
', 'detail 0: ä''\;
', 2149000, 2333000, 'active_version 0: ä''\;
', 2997000, 'target_version 0: ä''\;
', 3008000, 'deployment 0: ä''\;
', 'group_name 0: ä''\;
', 1955000, 2586000, '\x00275cff0000275cff0000275cff00');
INSERT INTO public.device_models VALUES ('device 1: ä''\;
', 'model 1: ä''\;
', 'state 1: ä''\;
', 'reason 1: ä''\;
', 'detail 1: ä''\;
', 2149001, 2333001, 'active_version 1: ä''\;
', 2997001, 'target_version 1: ä''\;
', 3008001, 'deployment 1: ä''\;
', 'group_name 1: ä''\;
', 1955001, 2586001, '\x00275cff0100275cff0100275cff01');
INSERT INTO public.device_tags VALUES ('device 0: ä''\;
', 'key 0: ä''\;
', 'value 0: ä''\;
');
INSERT INTO public.device_tags VALUES ('device 1: ä''\;
', 'key 1: ä''\;
', 'value 1: ä''\;
');
INSERT INTO public.devices VALUES ('id 0: ä''\;
', 2069000, 1422000, 1553000, '\x00275cff0000275cff0000275cff00', 1979000, 2282000, 'clock 0: ä''\;
', NULL, 'tags 0: ä''\;
', 'software 0: ä''\;
', 'runtime 0: ä''\;
', 'machine 0: ä''\;
', 2096000, 2371000, 'link 0: ä''\;
', false, 2265000, 'session 0: ä''\;
', 2156000, 2407000, 2089000, 2082000, 'twins_why 0: ä''\;
', 2276000, '\x00275cff0000275cff0000275cff00');
INSERT INTO public.devices VALUES ('id 1: ä''\;
', 2069001, 1422001, 1553001, '\x00275cff0100275cff0100275cff01', 1979001, 2282001, 'clock 1: ä''\;
', 120, 'tags 1: ä''\;
', 'software 1: ä''\;
', 'runtime 1: ä''\;
', 'machine 1: ä''\;
', 2096001, 2371001, 'link 1: ä''\;
', true, 2265001, 'session 1: ä''\;
', 2156001, 2407001, 2089001, 2082001, 'twins_why 1: ä''\;
', 2276001, '\x00275cff0100275cff0100275cff01');
INSERT INTO public.devices VALUES ('id 2: ä''\;
', 2069002, 1422002, 1553002, '\x00275cff0200275cff0200275cff02', 1979002, 2282002, 'clock 2: ä''\;
', 121, 'tags 2: ä''\;
', 'software 2: ä''\;
', 'runtime 2: ä''\;
', 'machine 2: ä''\;
', 2096002, 2371002, 'link 2: ä''\;
', false, 2265002, 'session 2: ä''\;
', 2156002, 2407002, 2089002, 2082002, 'twins_why 2: ä''\;
', 2276002, '\x00275cff0200275cff0200275cff02');
INSERT INTO public.devices VALUES ('id 3: ä''\;
', 2069003, 1422003, 1553003, '\x00275cff0300275cff0300275cff03', 1979003, 2282003, 'clock 3: ä''\;
', -7200, 'tags 3: ä''\;
', 'software 3: ä''\;
', 'runtime 3: ä''\;
', 'machine 3: ä''\;
', 2096003, 2371003, 'link 3: ä''\;
', true, 2265003, 'session 3: ä''\;
', 2156003, 2407003, 2089003, 2082003, 'twins_why 3: ä''\;
', 2276003, '\x00275cff0300275cff0300275cff03');
INSERT INTO public.dropped VALUES ('reason 0: ä''\;
', 1349000, 1442000);
INSERT INTO public.dropped VALUES ('reason 1: ä''\;
', 1349001, 1442001);
INSERT INTO public.gate_answers VALUES ('rollout 0: ä''\;
', 'question 0: ä''\;
', 'kind 0: ä''\;
', 'answer 0: ä''\;
', 'why 0: ä''\;
', 1752000);
INSERT INTO public.gate_answers VALUES ('rollout 1: ä''\;
', 'question 1: ä''\;
', 'kind 1: ä''\;
', 'answer 1: ä''\;
', 'why 1: ä''\;
', 1752001);
INSERT INTO public.history VALUES (1037000, 1255000, 1974000, 'device 0: ä''\;
', 'model 0: ä''\;
', 'state 0: ä''\;
', 'reason 0: ä''\;
', 'detail 0: ä''\;
', 'version 0: ä''\;
', 1689000, 'target_version 0: ä''\;
', 2431000, 'deployment 0: ä''\;
', '\x00275cff0000275cff0000275cff00');
INSERT INTO public.history VALUES (1037001, 1255001, 1974001, 'device 1: ä''\;
', 'model 1: ä''\;
', 'state 1: ä''\;
', 'reason 1: ä''\;
', 'detail 1: ä''\;
', 'version 1: ä''\;
', 1689001, 'target_version 1: ä''\;
', 2431001, 'deployment 1: ä''\;
', '\x00275cff0100275cff0100275cff01');
INSERT INTO public.idempotency VALUES ('who 0: ä''\;
', 'key 0: ä''\;
', '\x00275cff0000275cff0000275cff00', 1907000, 'headers 0: ä''\;
', '\x00275cff0000275cff0000275cff00', 1654000);
INSERT INTO public.idempotency VALUES ('who 1: ä''\;
', 'key 1: ä''\;
', '\x00275cff0100275cff0100275cff01', 1907001, 'headers 1: ä''\;
', '\x00275cff0100275cff0100275cff01', 1654001);
INSERT INTO public.leases VALUES ('name 0: ä''\;
', 'holder 0: ä''\;
', 1449.25, 1123000);
INSERT INTO public.leases VALUES ('name 1: ä''\;
', 'holder 1: ä''\;
', 1450.25, 1123001);
INSERT INTO public.links VALUES ('\x00275cff0000275cff0000275cff00', 'user 0: ä''\;
', 'role 0: ä''\;
', 'made_by 0: ä''\;
', 1208000, 1227000);
INSERT INTO public.links VALUES ('\x00275cff0100275cff0100275cff01', 'user 1: ä''\;
', 'role 1: ä''\;
', 'made_by 1: ä''\;
', 1208001, 1227001);
INSERT INTO public.meta VALUES ('key 0: ä''\;
', 'value 0: ä''\;
');
INSERT INTO public.meta VALUES ('key 1: ä''\;
', 'value 1: ä''\;
');
INSERT INTO public.metrics VALUES ('device 0: ä''\;
', 1573000, 1454000, 'model 0: ä''\;
', 'version 0: ä''\;
', 1662000, 1531000, 1573000, 1326000, false, 1697000, 1474000, '\x00275cff0000275cff0000275cff00', false);
INSERT INTO public.metrics VALUES ('device 1: ä''\;
', 1573001, 1454001, 'model 1: ä''\;
', 'version 1: ä''\;
', 1662001, 1531001, 1573001, 1326001, true, 1697001, 1474001, '\x00275cff0100275cff0100275cff01', true);
INSERT INTO public.metrics_hours VALUES ('device 0: ä''\;
', 'model 0: ä''\;
', 2318000, 2117000, 2353000, 2130000, '\x00275cff0000275cff0000275cff00');
INSERT INTO public.metrics_hours VALUES ('device 1: ä''\;
', 'model 1: ä''\;
', 2318001, 2117001, 2353001, 2130001, '\x00275cff0100275cff0100275cff01');
INSERT INTO public.metrics_releases VALUES ('device 0: ä''\;
', 'model 0: ä''\;
', 2609000, 'version 0: ä''\;
', 2514000, 2398000, 2644000, 2421000, '\x00275cff0000275cff0000275cff00');
INSERT INTO public.metrics_releases VALUES ('device 1: ä''\;
', 'model 1: ä''\;
', 2609001, 'version 1: ä''\;
', 2514001, 2398001, 2644001, 2421001, '\x00275cff0100275cff0100275cff01');
INSERT INTO public.notes VALUES (804000, 1022000, 'kind 0: ä''\;
', 'subject 0: ä''\;
', 'who 0: ä''\;
', 'text 0: ä''\;
');
INSERT INTO public.notes VALUES (804001, 1022001, 'kind 1: ä''\;
', 'subject 1: ä''\;
', 'who 1: ä''\;
', 'text 1: ä''\;
');
INSERT INTO public.release_figures VALUES ('model 0: ä''\;
', 2492000, 'version 0: ä''\;
', 2397000, 2281000, 2527000, 2304000, '\x00275cff0000275cff0000275cff00');
INSERT INTO public.release_figures VALUES ('model 1: ä''\;
', 2492001, 'version 1: ä''\;
', 2397001, 2281001, 2527001, 2304001, '\x00275cff0100275cff0100275cff01');
INSERT INTO public.release_hours VALUES ('model 0: ä''\;
', 2296000, 2095000, 2331000, 2108000, '\x00275cff0000275cff0000275cff00');
INSERT INTO public.release_hours VALUES ('model 1: ä''\;
', 2296001, 2095001, 2331001, 2108001, '\x00275cff0100275cff0100275cff01');
INSERT INTO public.requests VALUES ('id 0: ä''\;
', 'model 0: ä''\;
', 'rollout 0: ä''\;
', 'who 0: ä''\;
', 'wish 0: ä''\;
', 'arguments 0: ä''\;
', 1361000, 1570000, 'answer 0: ä''\;
');
INSERT INTO public.requests VALUES ('id 1: ä''\;
', 'model 1: ä''\;
', 'rollout 1: ä''\;
', 'who 1: ä''\;
', 'wish 1: ä''\;
', 'arguments 1: ä''\;
', 1361001, 1570001, 'answer 1: ä''\;
');
INSERT INTO public.rollout_log VALUES (1453000, 1671000, 'model 0: ä''\;
', 'rollout 0: ä''\;
', 'group_name 0: ä''\;
', 'word 0: ä''\;
', 'text 0: ä''\;
', 'who 0: ä''\;
');
INSERT INTO public.rollout_log VALUES (1453001, 1671001, 'model 1: ä''\;
', 'rollout 1: ä''\;
', 'group_name 1: ä''\;
', 'word 1: ä''\;
', 'text 1: ä''\;
', 'who 1: ä''\;
');
INSERT INTO public.rollout_views VALUES ('model 0: ä''\;
', 'name 0: ä''\;
', 1907000, 'view 0: ä''\;
');
INSERT INTO public.rollout_views VALUES ('model 1: ä''\;
', 'name 1: ä''\;
', 1907001, 'view 1: ä''\;
');
INSERT INTO public.rollouts VALUES ('model 0: ä''\;
', 'name 0: ä''\;
', 'state 0: ä''\;
', 'record 0: ä''\;
', 1899000);
INSERT INTO public.rollouts VALUES ('model 1: ä''\;
', 'name 1: ä''\;
', 'state 1: ä''\;
', 'record 1: ä''\;
', 1899001);
INSERT INTO public.sessions VALUES ('\x00275cff0000275cff0000275cff00', 'user 0: ä''\;
', 1550000, 1570000, 1569000, 'address 0: ä''\;
', 'agent 0: ä''\;
');
INSERT INTO public.sessions VALUES ('\x00275cff0100275cff0100275cff01', 'user 1: ä''\;
', 1550001, 1570001, 1569001, 'address 1: ä''\;
', 'agent 1: ä''\;
');
INSERT INTO public.tokens VALUES ('id 0: ä''\;
', 'name 0: ä''\;
', '\x00275cff0000275cff0000275cff00', 'scope 0: ä''\;
', 'made_by 0: ä''\;
', 1323000, 1342000, 1349000, 1668000);
INSERT INTO public.tokens VALUES ('id 1: ä''\;
', 'name 1: ä''\;
', '\x00275cff0100275cff0100275cff01', 'scope 1: ä''\;
', 'made_by 1: ä''\;
', 1323001, 1342001, 1349001, 1668001);
INSERT INTO public.users VALUES ('name 0: ä''\;
', 'role 0: ä''\;
', 'password_hash 0: ä''\;
', 1225000, 1701000, 1762000);
INSERT INTO public.users VALUES ('name 1: ä''\;
', 'role 1: ä''\;
', 'password_hash 1: ä''\;
', 1225001, 1701001, 1762001);
SELECT pg_catalog.setval('public.alarms_id_seq', 1, false);
SELECT pg_catalog.setval('public.audit_id_seq', 1, false);
SELECT pg_catalog.setval('public.history_id_seq', 1, false);
SELECT pg_catalog.setval('public.notes_id_seq', 1, false);
SELECT pg_catalog.setval('public.rollout_log_id_seq', 1, false);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.alarms
    ADD CONSTRAINT pk_alarms PRIMARY KEY (id);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT pk_audit PRIMARY KEY (id);
ALTER TABLE ONLY public.device_models
    ADD CONSTRAINT pk_device_models PRIMARY KEY (device, model);
ALTER TABLE ONLY public.device_tags
    ADD CONSTRAINT pk_device_tags PRIMARY KEY (device, key);
ALTER TABLE ONLY public.devices
    ADD CONSTRAINT pk_devices PRIMARY KEY (id);
ALTER TABLE ONLY public.dropped
    ADD CONSTRAINT pk_dropped PRIMARY KEY (reason);
ALTER TABLE ONLY public.gate_answers
    ADD CONSTRAINT pk_gate_answers PRIMARY KEY (rollout, question, kind);
ALTER TABLE ONLY public.history
    ADD CONSTRAINT pk_history PRIMARY KEY (id);
ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT pk_idempotency PRIMARY KEY (who, key);
ALTER TABLE ONLY public.leases
    ADD CONSTRAINT pk_leases PRIMARY KEY (name);
ALTER TABLE ONLY public.links
    ADD CONSTRAINT pk_links PRIMARY KEY (secret_sha256);
ALTER TABLE ONLY public.meta
    ADD CONSTRAINT pk_meta PRIMARY KEY (key);
ALTER TABLE ONLY public.metrics
    ADD CONSTRAINT pk_metrics PRIMARY KEY (device, counter, number);
ALTER TABLE ONLY public.metrics_hours
    ADD CONSTRAINT pk_metrics_hours PRIMARY KEY (device, model, sequence, hour_s);
ALTER TABLE ONLY public.metrics_releases
    ADD CONSTRAINT pk_metrics_releases PRIMARY KEY (device, model, sequence);
ALTER TABLE ONLY public.notes
    ADD CONSTRAINT pk_notes PRIMARY KEY (id);
ALTER TABLE ONLY public.release_figures
    ADD CONSTRAINT pk_release_figures PRIMARY KEY (model, sequence);
ALTER TABLE ONLY public.release_hours
    ADD CONSTRAINT pk_release_hours PRIMARY KEY (model, sequence, hour_s);
ALTER TABLE ONLY public.requests
    ADD CONSTRAINT pk_requests PRIMARY KEY (id);
ALTER TABLE ONLY public.rollout_log
    ADD CONSTRAINT pk_rollout_log PRIMARY KEY (id);
ALTER TABLE ONLY public.rollout_views
    ADD CONSTRAINT pk_rollout_views PRIMARY KEY (model, name);
ALTER TABLE ONLY public.rollouts
    ADD CONSTRAINT pk_rollouts PRIMARY KEY (model, name);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT pk_sessions PRIMARY KEY (secret_sha256);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT pk_tokens PRIMARY KEY (id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT pk_users PRIMARY KEY (name);
CREATE INDEX ix_alarms_cleared_s ON public.alarms USING btree (cleared_s);
CREATE UNIQUE INDEX ix_alarms_standing ON public.alarms USING btree (kind, subject) WHERE (cleared_s IS NULL);
CREATE INDEX ix_audit_at_s ON public.audit USING btree (at_s);
CREATE INDEX ix_device_models_changed ON public.device_models USING btree (model, changed_s);
CREATE INDEX ix_device_models_deployment ON public.device_models USING btree (deployment, group_name);
CREATE INDEX ix_device_models_release ON public.device_models USING btree (model, active_sequence, active_version);
CREATE INDEX ix_device_models_state ON public.device_models USING btree (model, state, reason);
CREATE INDEX ix_device_tags_key_value ON public.device_tags USING btree (key, value);
CREATE INDEX ix_history_at_s ON public.history USING btree (at_s);
CREATE INDEX ix_history_device_at_s ON public.history USING btree (device, at_s);
CREATE INDEX ix_history_model_at_s ON public.history USING btree (model, at_s);
CREATE INDEX ix_idempotency_at_s ON public.idempotency USING btree (at_s);
CREATE INDEX ix_metrics_device_model_heard_s ON public.metrics USING btree (device, model, heard_s);
CREATE INDEX ix_metrics_heard_s ON public.metrics USING btree (heard_s);
CREATE INDEX ix_metrics_hours_hour_s ON public.metrics_hours USING btree (hour_s);
CREATE INDEX ix_metrics_releases_last_s ON public.metrics_releases USING btree (last_s);
CREATE INDEX ix_metrics_releases_model_sequence ON public.metrics_releases USING btree (model, sequence);
CREATE INDEX ix_metrics_unfolded ON public.metrics USING btree (heard_s) WHERE (NOT is_folded);
CREATE INDEX ix_notes_kind_subject ON public.notes USING btree (kind, subject);
CREATE INDEX ix_release_figures_last_s ON public.release_figures USING btree (last_s);
CREATE INDEX ix_release_hours_hour_s ON public.release_hours USING btree (hour_s);
CREATE INDEX ix_requests_rollout_at_s ON public.requests USING btree (rollout, at_s);
CREATE INDEX ix_rollout_log_at_s ON public.rollout_log USING btree (at_s);
CREATE INDEX ix_rollout_log_rollout_id ON public.rollout_log USING btree (rollout, id);
CREATE INDEX ix_sessions_user ON public.sessions USING btree ("user");
