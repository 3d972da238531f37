-- Gateways know that a run has no forks and retries, because each is notified when it is listed.

CREATE FUNCTION notify_fork() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('agentflow_forks', NEW.org || '/' || substring(NEW.tags FROM '"agentflow\.origin":"([^"]*)"'));
    RETURN NULL;
END $$;

CREATE TRIGGER new_forks_are_notified AFTER INSERT ON runs
    FOR EACH ROW WHEN (NEW.tags LIKE '%"agentflow.origin":"%') EXECUTE FUNCTION notify_fork();

CREATE TRIGGER named_forks_are_notified AFTER UPDATE OF tags ON runs
    FOR EACH ROW WHEN (NEW.tags IS DISTINCT FROM OLD.tags AND NEW.tags LIKE '%"agentflow.origin":"%')
    EXECUTE FUNCTION notify_fork();
