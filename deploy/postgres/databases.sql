-- A role and a database for each service, with the passwords in the environment. Compose's server runs this when it makes
-- its volume; on a server of your own, an administrator runs it once, with psql 15 or newer:
--
--   psql --set ON_ERROR_STOP=1 --dbname postgres --file deploy/postgres/databases.sql
\getenv issuance_password SPIN_VARIABLE_ISSUANCE_DATABASE_PASSWORD
\getenv verification_password SPIN_VARIABLE_VERIFICATION_DATABASE_PASSWORD

CREATE ROLE issuance LOGIN PASSWORD :'issuance_password';
CREATE ROLE verification LOGIN PASSWORD :'verification_password';
-- The administrator of a managed server is not a superuser and needs this to create databases for them.
GRANT issuance, verification TO CURRENT_USER;

CREATE DATABASE issuance OWNER issuance TEMPLATE template0 ENCODING 'UTF8';
CREATE DATABASE verification OWNER verification TEMPLATE template0 ENCODING 'UTF8';
-- By default, any role may connect to any database.
REVOKE ALL ON DATABASE issuance, verification FROM PUBLIC;
