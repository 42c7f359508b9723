-- tables.sql - a database in memory, for the bench. The table "size" is there.

CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, price REAL);
WITH RECURSIVE n(i) AS (
    SELECT 1 UNION ALL
    SELECT i + 1 FROM n WHERE i < 20000 * (SELECT n FROM size))
INSERT INTO item
    SELECT i, printf('item %d of %s', i, hex(i * 7919 % 65536)),
        i * 31 % 97, i * 17 % 1000 / 10.0 FROM n;
CREATE INDEX item_name ON item(name);
CREATE INDEX item_kind ON item(kind, price);

CREATE TABLE sale(item INTEGER, day INTEGER, count INTEGER);
WITH RECURSIVE n(i) AS (
    SELECT 1 UNION ALL
    SELECT i + 1 FROM n WHERE i < 30000 * (SELECT n FROM size))
INSERT INTO sale
    SELECT i * 7907 % (20000 * (SELECT n FROM size)) + 1, i % 365, i % 9 + 1
    FROM n;

-- Joins, groups and sorting.
SELECT kind, count(*), round(sum(price * sale.count), 1), max(name)
    FROM sale JOIN item ON item.id = sale.item GROUP BY kind ORDER BY 3 DESC
    LIMIT 5;
SELECT day, group_concat(substr(name, 6, 3)) FROM sale
    JOIN item ON item.id = sale.item WHERE day < 3 GROUP BY day
    ORDER BY length(name), day LIMIT 1;
SELECT count(*), max(length(upper(name) || lower(name))) FROM item
    WHERE name LIKE '%7%' OR replace(name, '1', 'one') > 'item one9';

-- Rows change and go.
UPDATE item SET name = name || ' (' || kind || ')' WHERE kind % 3 = 0;
DELETE FROM item WHERE kind % 5 = 0;
SELECT count(*), sum(length(name)), round(sum(price), 1) FROM item;
SELECT length(group_concat(name)) FROM item;
