-- What a real database has beside plain tables: text that looks like SQL, binary columns, and everything that can be stored.
CREATE DATABASE wiki CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
USE wiki;
CREATE TABLE pages (
    id      INT AUTO_INCREMENT PRIMARY KEY,
    title   VARCHAR(200) NOT NULL,
    body    MEDIUMTEXT NOT NULL,
    image   VARBINARY(5000)
) ENGINE=InnoDB;
CREATE TABLE changes (
    id      INT AUTO_INCREMENT PRIMARY KEY,
    page    INT NOT NULL REFERENCES pages (id),
    at      TIMESTAMP DEFAULT CURRENT_TIMESTAMP
) ENGINE=InnoDB;
CREATE TABLE `odd ``table``; DROP` (`the "key"` INT PRIMARY KEY, `名前` VARCHAR(50)) ENGINE=InnoDB;
CREATE TABLE visits (id BIGINT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(50)) ENGINE=InnoDB;
CREATE TABLE nothing (id INT PRIMARY KEY) ENGINE=InnoDB;
CREATE TRIGGER note_change AFTER INSERT ON pages FOR EACH ROW INSERT INTO changes (page) VALUES (NEW.id);
INSERT INTO pages (title, body, image) VALUES
    ('rows', 'looks like two rows: (1,2),(3,4);\nINSERT INTO `pages` VALUES (9,''x''),(10,"y");', NULL),
    ('quotes', 'O''Brien said "no" \\ and `yes` \\'' -- ; /*! */ #', x'00ff27225c0a0d1a'),
    ('日本語', '世代 🗄 バックアップ', REPEAT(x'00', 4000)),
    ('lines', 'one\ntwo\r\nthree\ttab', x'');
INSERT INTO `odd ``table``; DROP` VALUES (1, '世代'), (2, '),(');
CREATE VIEW titles AS SELECT id, title FROM pages ORDER BY title;
CREATE FUNCTION twice (n INT) RETURNS INT DETERMINISTIC RETURN n * 2;
CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' DO DELETE FROM visits WHERE id < 0;
CREATE USER 'wiki-app'@'localhost' IDENTIFIED BY 'lab-only''s \\ "word"';
GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON wiki.* TO 'wiki-app'@'localhost';
