DROP FUNCTION access_to_project(text, boolean, text, text);
