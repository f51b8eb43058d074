//! Projects and their environments.

use jiff::Timestamp;
use panda_domain::ids::{EnvironmentId, ProjectId, TeamId};
use panda_domain::names::{EnvironmentName, ProjectName};

use crate::error::Result;
use crate::sql::Row;
use crate::tx::Tx;

/// A group of apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Who owns it.
    pub team: TeamId,
    /// Its name, unique in the team.
    pub name: ProjectName,
    /// When it was made.
    pub created_at: Timestamp,
}

/// `production`, `staging` or another environment of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// Who owns it.
    pub team: TeamId,
    /// The project that it belongs to.
    pub project: ProjectId,
    /// Its name, unique in the project.
    pub name: EnvironmentName,
}

fn read_project(row: &Row) -> Result<Project> {
    Ok(Project {
        id: row.parse("id")?,
        team: row.parse("team_id")?,
        name: row.parse("name")?,
        created_at: row.time("created_at")?,
    })
}

fn read_environment(row: &Row) -> Result<Environment> {
    Ok(Environment {
        id: row.parse("id")?,
        team: row.parse("team_id")?,
        project: row.parse("project_id")?,
        name: row.parse("name")?,
    })
}

impl Tx {
    /// Returns the team's project of this name, and makes it if there is none.
    pub async fn ensure_project(&mut self, team: &TeamId, name: &ProjectName) -> Result<Project> {
        let (id, now): (ProjectId, _) = (self.next_id(), self.now());
        let sql = "insert into projects (id, team_id, name, created_at) values ($1, $2, $3, $4)
            on conflict (team_id, name) do nothing";
        self.sql("projects", sql).bind(&id).bind(team).bind(name).bind(now).run().await?;
        let sql = "select id, team_id, name, created_at from projects where team_id = $1 and name = $2";
        read_project(&self.sql("projects", sql).bind(team).bind(name).one().await?)
    }

    /// Returns the team's projects by name.
    pub async fn projects(&mut self, team: &TeamId) -> Result<Vec<Project>> {
        let sql = "select id, team_id, name, created_at from projects where team_id = $1 order by name";
        self.sql("projects", sql).bind(team).list(read_project).await
    }

    /// Returns the team's project of this name.
    pub async fn project_by_name(&mut self, team: &TeamId, name: &ProjectName) -> Result<Option<Project>> {
        let sql = "select id, team_id, name, created_at from projects where team_id = $1 and name = $2";
        self.sql("projects", sql).bind(team).bind(name).maybe(read_project).await
    }

    /// Returns the project's environment of this name, and makes it if there is none.
    pub async fn ensure_environment(
        &mut self,
        team: &TeamId,
        project: &ProjectId,
        name: &EnvironmentName,
    ) -> Result<Environment> {
        let (id, now): (EnvironmentId, _) = (self.next_id(), self.now());
        // From the project's own row, so that a project of another team makes nothing.
        let sql = "insert into environments (id, team_id, project_id, name, created_at)
            select $1, p.team_id, p.id, $4, $5 from projects p where p.id = $3 and p.team_id = $2
            on conflict (project_id, name) do nothing";
        self.sql("environments", sql).bind(&id).bind(team).bind(project).bind(name).bind(now).run().await?;
        let sql = "select id, team_id, project_id, name from environments
            where team_id = $1 and project_id = $2 and name = $3";
        read_environment(&self.sql("environments", sql).bind(team).bind(project).bind(name).one().await?)
    }

    /// Returns the project's environments by name.
    pub async fn environments(&mut self, team: &TeamId, project: &ProjectId) -> Result<Vec<Environment>> {
        let sql = "select id, team_id, project_id, name from environments
            where team_id = $1 and project_id = $2 order by name";
        self.sql("environments", sql).bind(team).bind(project).list(read_environment).await
    }
}
