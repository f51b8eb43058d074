//! Apps.

use panda_domain::app::App;
use panda_domain::ids::{AppId, ProjectId, TeamId};
use panda_domain::names::AppName;

use crate::error::{Result, StoreError};
use crate::page::Cursor;
use crate::sql::Row;
use crate::tx::Tx;

fn read(row: &Row) -> Result<App> {
    Ok(App {
        id: row.parse("id")?,
        team: row.parse("team_id")?,
        project: row.parse("project_id")?,
        name: row.parse("name")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    /// Makes an app; `Taken` if the team has one of this name.
    pub async fn insert_app(&mut self, team: &TeamId, project: &ProjectId, name: &AppName) -> Result<App> {
        let (id, now): (AppId, _) = (self.next_id(), self.now());
        let sql = "insert into apps (id, team_id, project_id, name, created_at) values ($1, $2, $3, $4, $5)
            on conflict (team_id, name) do nothing";
        let made =
            self.sql("apps", sql).bind(&id).bind(team).bind(project).bind(name).bind(now).changed().await?;
        if !made {
            return Err(StoreError::Taken { what: format!("app name `{name}`") });
        }
        Ok(App { id, team: team.clone(), project: project.clone(), name: name.clone(), created_at: now })
    }

    /// Returns the team's app of this name.
    pub async fn app_by_name(&mut self, team: &TeamId, name: &AppName) -> Result<Option<App>> {
        let sql =
            "select id, team_id, project_id, name, created_at from apps where team_id = $1 and name = $2";
        self.sql("apps", sql).bind(team).bind(name).maybe(read).await
    }

    /// Returns the team's app with this id.
    pub async fn app(&mut self, team: &TeamId, id: &AppId) -> Result<Option<App>> {
        let sql = "select id, team_id, project_id, name, created_at from apps where team_id = $1 and id = $2";
        self.sql("apps", sql).bind(team).bind(id).maybe(read).await
    }

    /// Returns the team's apps, newest first.
    pub async fn apps(&mut self, team: &TeamId, page: &Cursor) -> Result<Vec<App>> {
        let sql = "select id, team_id, project_id, name, created_at from apps
            where team_id = $1 and id < $2 order by id desc limit $3";
        self.sql("apps", sql).bind(team).bind(page.before_id()?).bind(page.limit()).list(read).await
    }

    /// Removes an app with everything that is kept for it but its events. What runs has to be gone by then. Its images are
    /// listed as to be deleted. Returns false if the team has no such app.
    pub async fn delete_app_rows(&mut self, team: &TeamId, id: &AppId) -> Result<bool> {
        self.doom_images_of_app(team, id).await?;
        self.sql("apps", "delete from apps where team_id = $1 and id = $2")
            .bind(team)
            .bind(id)
            .changed()
            .await
    }
}
