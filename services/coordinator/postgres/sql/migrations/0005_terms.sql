-- A coordinator serves for a term: trainings have epochs, too. The constraints are made anew, so that their names follow.
ALTER TABLE coordinators DROP CONSTRAINT coordinators_pkey;
ALTER TABLE coordinators ALTER COLUMN epoch DROP NOT NULL;
ALTER TABLE coordinators RENAME COLUMN epoch TO term;
ALTER TABLE coordinators ALTER COLUMN term SET NOT NULL;
ALTER TABLE coordinators ADD CONSTRAINT coordinators_pkey PRIMARY KEY (term);
