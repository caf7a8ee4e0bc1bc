-- What a real database has beside plain tables: odd names, odd text, large objects, owners.
\set ON_ERROR_STOP 1
CREATE TABLE "Kunden ""A-Z""" (
    "Kunden-Nr" integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "na""me"    text NOT NULL,
    "住所"      text,
    photo       oid,
    raw         bytea
);
INSERT INTO "Kunden ""A-Z""" ("na""me", "住所", raw) VALUES
    ('O''Brien \ "quoted"', '東京都千代田区', '\x00ff0a0d27225c'),
    (E'two\nlines\tand a tab', '世代 🗄', NULL),
    ('\.', 'a line that ends a COPY where it is not escaped', ''),
    ('', NULL, decode(repeat('00', 5000), 'hex'));
SELECT lo_from_bytea(424242, decode(repeat('00ff', 100000), 'hex'));
UPDATE "Kunden ""A-Z""" SET photo = 424242 WHERE "Kunden-Nr" = 1;

CREATE SCHEMA "Lager";
CREATE SEQUENCE "Lager"."Zähler" START 1000;
CREATE TABLE "Lager"."注文" (nr bigint DEFAULT nextval('"Lager"."Zähler"') PRIMARY KEY, at timestamptz DEFAULT now());
INSERT INTO "Lager"."注文" DEFAULT VALUES;
INSERT INTO "Lager"."注文" DEFAULT VALUES;
CREATE VIEW "Lager".newest AS SELECT max(nr) AS nr FROM "Lager"."注文";

ALTER TABLE "Kunden ""A-Z""" OWNER TO shop_owner;
ALTER SCHEMA "Lager" OWNER TO shop_owner;
ALTER TABLE "Lager"."注文" OWNER TO shop_owner;
ALTER LARGE OBJECT 424242 OWNER TO shop_owner;
-- No predefined role reads large objects.
GRANT SELECT ON LARGE OBJECT 424242 TO reader;
