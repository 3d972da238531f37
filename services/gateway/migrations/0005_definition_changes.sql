-- Gateways remember definitions and labels. Every change is notified when it is committed, whoever makes it.

CREATE FUNCTION notify_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('agentflow_definitions', COALESCE(NEW.org, OLD.org) || '/' || COALESCE(NEW.name, OLD.name));
    RETURN NULL;
END $$;

CREATE TRIGGER definition_changes_are_notified AFTER INSERT OR DELETE ON definitions
    FOR EACH ROW EXECUTE FUNCTION notify_change();

CREATE TRIGGER label_changes_are_notified AFTER INSERT OR UPDATE OR DELETE ON labels
    FOR EACH ROW EXECUTE FUNCTION notify_change();
